package admission

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fitsPod reads what a node's request for a certificate speaks of, and judges it. What cannot be read may only be late: the node asks again.
func (r *nodeRestriction) fitsPod(ctx context.Context, node string, req *certificatesv1.PodCertificateRequest) error {
	if string(req.Spec.NodeName) != node {
		return fmt.Errorf("can only ask for certificates for its own pods: spec.nodeName is %q", req.Spec.NodeName)
	}
	core := r.client.CoreV1()
	n, err := core.Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	p, err := core.Pods(req.Namespace).Get(ctx, req.Spec.PodName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	account, err := core.ServiceAccounts(req.Namespace).Get(ctx, req.Spec.ServiceAccountName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return requestFits(req, n, p, account)
}

// requestFits compares a request with what it speaks of: a signer vouches for what it says of the Pod, so nothing of it may be the node's invention.
func requestFits(req *certificatesv1.PodCertificateRequest, node *corev1.Node, pod *corev1.Pod, account *corev1.ServiceAccount) error {
	s := &req.Spec
	switch {
	case s.NodeUID != node.UID:
		return fmt.Errorf("asks with the UID %q of node %s, which has %q", s.NodeUID, node.Name, node.UID)
	case s.PodUID != pod.UID:
		return fmt.Errorf("asks with the UID %q of pod %s/%s, which has %q", s.PodUID, pod.Namespace, pod.Name, pod.UID)
	case pod.Spec.NodeName != node.Name:
		return fmt.Errorf("asks for pod %s/%s, which is on node %q", pod.Namespace, pod.Name, pod.Spec.NodeName)
	case pod.Annotations[corev1.MirrorPodAnnotationKey] != "":
		return fmt.Errorf("asks for pod %s/%s, which is a mirror pod; those have no identity in the cluster", pod.Namespace, pod.Name)
	case s.ServiceAccountName != pod.Spec.ServiceAccountName:
		return fmt.Errorf("asks as service account %q, but pod %s/%s runs as %q", s.ServiceAccountName, pod.Namespace, pod.Name, pod.Spec.ServiceAccountName)
	case s.ServiceAccountUID != account.UID:
		return fmt.Errorf("asks with the UID %q of service account %s/%s, which has %q", s.ServiceAccountUID, account.Namespace, account.Name, account.UID)
	case !wantsSigner(pod, s.SignerName):
		return fmt.Errorf("asks signer %s, but no volume of pod %s/%s has a certificate of it", s.SignerName, pod.Namespace, pod.Name)
	}
	return nil
}

func wantsSigner(pod *corev1.Pod, signer string) bool {
	for i := range pod.Spec.Volumes {
		v := pod.Spec.Volumes[i].Projected
		if v == nil {
			continue
		}
		for j := range v.Sources {
			if c := v.Sources[j].PodCertificate; c != nil && c.SignerName == signer {
				return true
			}
		}
	}
	return false
}

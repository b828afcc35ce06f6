package claimprotection

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// finalizer keeps a claim.
const finalizer = "kubernetes.io/pvc-protection"

// kept says that a claim is being deleted and this finalizer is among what keeps it.
func kept(claim *corev1.PersistentVolumeClaim) bool {
	return claim.DeletionTimestamp != nil && slices.Contains(claim.Finalizers, finalizer)
}

// User finds a Pod that uses a claim of its namespace, or nil. A Pod that is on no node does not use it yet, and no node starts one whose claim is being deleted.
func User(claim string, pods []*corev1.Pod) *corev1.Pod {
	for _, p := range pods {
		if p.Spec.NodeName != "" && slices.Contains(claimsOf(p), claim) {
			return p
		}
	}
	return nil
}

// claimsOf names the claims of a Pod, those made for it alone included.
func claimsOf(p *corev1.Pod) []string {
	var names []string
	for i := range p.Spec.Volumes {
		switch v := &p.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, p.Name+"-"+v.Name)
		}
	}
	return names
}

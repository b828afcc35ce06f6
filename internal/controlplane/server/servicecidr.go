package server

import (
	"context"
	"fmt"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
)

// defaultServiceCIDR is the name under which clients look for the range that the cluster was made with.
const defaultServiceCIDR = "kubernetes"

// publishServiceCIDR shows the range of cluster IPs as the object that clients know for it.
func publishServiceCIDR(c *genericapiserver.Config, client kubernetes.Interface, cidr netip.Prefix) error {
	const name = "networking/default-service-cidr"
	return c.AddPostStartHook(name, untilDone(name, func(ctx context.Context) error {
		if err := ensureServiceCIDR(ctx, client, cidr); err != nil {
			return fmt.Errorf("ServiceCIDR %s: %w", defaultServiceCIDR, err)
		}
		return nil
	}))
}

func ensureServiceCIDR(ctx context.Context, client kubernetes.Interface, cidr netip.Prefix) error {
	all := client.NetworkingV1().ServiceCIDRs()
	have, err := all.Get(ctx, defaultServiceCIDR, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		have, err = all.Create(ctx, &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: defaultServiceCIDR}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{cidr.Masked().String()}},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	if len(have.Status.Conditions) > 0 {
		return nil
	}
	have.Status.Conditions = []metav1.Condition{{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Reason: "InUse", Message: "cluster IPs come from this range", LastTransitionTime: metav1.Now(),
	}}
	_, err = all.UpdateStatus(ctx, have, metav1.UpdateOptions{})
	return err
}

package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
)

// publishServiceCIDR makes the ServiceCIDR of the ranges that the cluster starts with. The API is not ready before cluster IPs can be given out.
func publishServiceCIDR(c *genericapiserver.Config, client kubernetes.Interface, cidrs []netip.Prefix) error {
	const name = "networking/default-service-cidr"
	return c.AddPostStartHook(name, untilDone(name, func(ctx context.Context) error {
		if err := ensureServiceCIDR(ctx, client, cidrs); err != nil {
			return fmt.Errorf("ServiceCIDR %s: %w", clusterip.DefaultName, err)
		}
		return nil
	}))
}

func ensureServiceCIDR(ctx context.Context, client kubernetes.Interface, cidrs []netip.Prefix) error {
	all := client.NetworkingV1().ServiceCIDRs()
	want := clusterip.Default(cidrs)
	have, err := all.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		have, err = all.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && len(have.Spec.CIDRs) == 1 && len(want.Spec.CIDRs) == 2 && have.Spec.CIDRs[0] == want.Spec.CIDRs[0]:
		have.Spec.CIDRs = want.Spec.CIDRs
		have, err = all.Update(ctx, have, metav1.UpdateOptions{})
	case err == nil && !slices.Equal(have.Spec.CIDRs, want.Spec.CIDRs):
		slog.Warn("cluster IPs come from the ServiceCIDR that the cluster was made with, not from --service-cidr: start with that range, and make a ServiceCIDR for the other",
			"servicecidr", have.Name, "cidrs", have.Spec.CIDRs, "--service-cidr", want.Spec.CIDRs)
	}
	if err != nil {
		return err
	}
	if !meta.SetStatusCondition(&have.Status.Conditions, clusterip.Ready()) {
		return nil
	}
	_, err = all.UpdateStatus(ctx, have, metav1.UpdateOptions{})
	return err
}

package claimprotection

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/pv"
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
		if name := pv.ClaimOf(p, &p.Spec.Volumes[i]); name != "" {
			names = append(names, name)
		}
	}
	return names
}

package plugins

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// VolumeRestrictions keeps a claim of access mode ReadWriteOncePod to one Pod at a time, wherever that runs.
type VolumeRestrictions struct{}

var _ Filter = VolumeRestrictions{}

// Name is the filter's name.
func (VolumeRestrictions) Name() string { return "VolumeRestrictions" }

// Prepare applies to Pods with a claim that another Pod uses alone.
func (VolumeRestrictions) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check {
	var taken aloneCheck
	for _, k := range pod.Claims {
		if c := s.Claim(k.Name); c != nil && slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod) && s.ClaimUsers(k.Name) > 0 {
			taken = append(taken, k.Name)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	return taken
}

// Concerns are Pods that go.
func (VolumeRestrictions) Concerns() Change { return PodGone | Claims }

// Helped by a Pod that has used one of the claims.
func (VolumeRestrictions) Helped(pod *snapshot.Pod, e Event) bool {
	return slices.ContainsFunc(pod.Claims, func(c snapshot.Claim) bool {
		return c.Name == e.Claim || e.Pod != nil && slices.ContainsFunc(e.Pod.Claims, func(o snapshot.Claim) bool { return o.Name == c.Name })
	})
}

type aloneCheck []string

func (aloneCheck) Passes(*snapshot.Node) bool { return false }

func (aloneCheck) Explain(*snapshot.Node) []string {
	return []string{"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"}
}

func (c aloneCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for _, name := range c {
		user := "a Pod on another node"
		if p := userOn(n, name); p != nil {
			user = fmt.Sprintf("Pod %s/%s", p.Object.Namespace, p.Object.Name)
		}
		out = append(out, fmt.Sprintf("claim %s (ReadWriteOncePod) is used by %s until that ends", name, user))
	}
	return out
}

// Lasting where none of the users is: only the node that has the user can be helped by its going.
func (c aloneCheck) Lasting(n *snapshot.Node) bool {
	return !slices.ContainsFunc(c, func(name string) bool { return userOn(n, name) != nil })
}

func userOn(n *snapshot.Node, claim string) *snapshot.Pod {
	for _, p := range n.Pods {
		if slices.ContainsFunc(p.Claims, func(c snapshot.Claim) bool { return c.Name == claim }) {
			return p
		}
	}
	return nil
}

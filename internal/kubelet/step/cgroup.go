package step

import (
	"context"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/spec"
)

// Cgroup makes the Pod's control group.
type Cgroup struct {
	Tree *cgroup.Tree
	Host spec.Host
}

var _ Step = Cgroup{}

// Name is how other steps refer to it.
func (Cgroup) Name() string { return "cgroup" }

// Needs nothing.
func (Cgroup) Needs() []string { return nil }

// Setup makes the group and sets its limits.
func (c Cgroup) Setup(_ context.Context, s *Sandbox) error {
	return c.Tree.Setup(string(s.Pod.UID), spec.PodLimits(c.Host, s.Pod))
}

// Teardown removes the group.
func (c Cgroup) Teardown(_ context.Context, s *Sandbox) error {
	return c.Tree.Remove(string(s.Pod.UID))
}

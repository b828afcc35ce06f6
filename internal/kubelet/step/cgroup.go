package step

import (
	"context"
	"errors"

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

// Setup makes the group and sets its limits. A Pod that was given less memory than it uses keeps its limit: it runs, and narrowing it is for whoever
// carries out resizes, and tells how that went.
func (c Cgroup) Setup(_ context.Context, s *Sandbox) error {
	err := c.Tree.Setup(string(s.Pod.UID), spec.PodLimits(c.Host, s.Pod))
	if errors.As(err, new(*cgroup.InUse)) {
		return nil
	}
	return err
}

// Teardown removes the group.
func (c Cgroup) Teardown(_ context.Context, s *Sandbox) error {
	return c.Tree.Remove(string(s.Pod.UID))
}

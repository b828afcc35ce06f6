package step

import (
	"context"

	"github.com/gitopsd/gitopsd/internal/kubelet/devices"
	"github.com/gitopsd/gitopsd/internal/kubelet/dra"
	"github.com/gitopsd/gitopsd/internal/kubelet/grant"
)

// Devices has the devices of the Pod's containers got ready, by device plugins and by the drivers of its ResourceClaims.
type Devices struct {
	Devices *devices.Devices
	Claims  *dra.Claims
}

var _ Step = Devices{}

// Name is how other steps refer to it.
func (Devices) Name() string { return "devices" }

// Needs the sandbox's ID: plugins and drivers are asked once for each.
func (Devices) Needs() []string { return []string{"namespaces"} }

// Setup asks them, unless they have been.
func (d Devices) Setup(ctx context.Context, s *Sandbox) error {
	of, err := d.Devices.Prepare(ctx, s.Pod, s.Dir, s.ID)
	if err != nil {
		return err
	}
	claimed, err := d.Claims.Prepare(ctx, s.Pod, s.Dir, s.ID)
	if err != nil {
		return err
	}
	s.Devices = map[string]grant.Grant{}
	for _, from := range []map[string]grant.Grant{of, claimed} {
		for container, more := range from {
			g := s.Devices[container]
			g.Add(more)
			s.Devices[container] = g
		}
	}
	return nil
}

// Teardown has drivers undo it. A plugin's devices are the Pod's until the node gives them to others.
func (d Devices) Teardown(ctx context.Context, s *Sandbox) error {
	return d.Claims.Unprepare(ctx, s.Pod, s.Dir)
}

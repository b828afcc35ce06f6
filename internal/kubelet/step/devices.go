package step

import (
	"context"
	"maps"

	"github.com/gitopsd/gitopsd/internal/kubelet/devices"
)

// Devices has the devices of the Pod's containers got ready.
type Devices struct{ Devices *devices.Devices }

var _ Step = Devices{}

// Name is how other steps refer to it.
func (Devices) Name() string { return "devices" }

// Needs the sandbox's ID: plugins are asked once for each.
func (Devices) Needs() []string { return []string{"namespaces"} }

// Setup asks the plugins, unless they have been.
func (d Devices) Setup(ctx context.Context, s *Sandbox) error {
	of, err := d.Devices.Prepare(ctx, s.Pod, s.Dir, s.ID)
	if err != nil {
		return err
	}
	s.Devices = maps.Clone(of)
	return nil
}

// Teardown leaves it to the node to give the devices to others: they are the Pod's until it has ended.
func (Devices) Teardown(context.Context, *Sandbox) error { return nil }

package step

import "context"

// Shim sees to it that no shim outlives its Pod's containers. They make it when they are created; nothing is to be set up.
type Shim struct {
	// End ends the shims of a Pod that has no containers any more.
	End func(ctx context.Context, podUID string) error
}

var _ Step = Shim{}

// Name is how other steps refer to it.
func (Shim) Name() string { return "shim" }

// Needs nothing.
func (Shim) Needs() []string { return nil }

// Setup does nothing.
func (Shim) Setup(context.Context, *Sandbox) error { return nil }

// Teardown ends what is left of the Pod's shims.
func (x Shim) Teardown(ctx context.Context, s *Sandbox) error { return x.End(ctx, string(s.Pod.UID)) }

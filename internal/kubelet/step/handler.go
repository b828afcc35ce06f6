package step

import (
	"context"
	"fmt"

	nodev1 "k8s.io/api/node/v1"
)

// Handler finds out what runs the Pod's containers: the node's usual runtime, or the one that the Pod's RuntimeClass names.
type Handler struct {
	// Class gives a RuntimeClass.
	Class func(ctx context.Context, name string) (*nodev1.RuntimeClass, error)
	// Runtime gives containerd's name for a RuntimeClass's handler.
	Runtime func(handler string) (string, error)
}

var _ Step = Handler{}

// Name is how other steps refer to it.
func (Handler) Name() string { return "handler" }

// Needs nothing.
func (Handler) Needs() []string { return nil }

// Setup looks the class up.
func (h Handler) Setup(ctx context.Context, s *Sandbox) error {
	s.Runtime = ""
	name := s.Pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return nil
	}
	class, err := h.Class(ctx, *name)
	if err != nil {
		return fmt.Errorf("reading RuntimeClass %s: %w", *name, err)
	}
	if s.Runtime, err = h.Runtime(class.Handler); err != nil {
		return fmt.Errorf("RuntimeClass %s: %w", *name, err)
	}
	return nil
}

// Teardown has nothing to undo.
func (Handler) Teardown(context.Context, *Sandbox) error { return nil }

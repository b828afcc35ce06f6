package pod

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/step"
)

// mounting is a step that is in the middle of a Setup until it is let go.
type mounting struct{ letGo chan struct{} }

func (mounting) Name() string    { return step.VolumesName }
func (mounting) Needs() []string { return nil }
func (m mounting) Setup(context.Context, *step.Sandbox) error {
	<-m.letGo
	return nil
}
func (mounting) Teardown(context.Context, *step.Sandbox) error { return nil }

func TestNothingIsTakenDownWhileVolumesAreBroughtUpToDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mounting{make(chan struct{})}
		w := &worker{
			node: &Node{Plan: step.Plan{Steps: []step.Step{m}}}, log: slog.Default(), wake: make(chan struct{}, 1),
			pod: &v1.Pod{}, sandbox: &step.Sandbox{Pod: &v1.Pod{}}, prepared: true, stale: true,
		}
		w.refresh(t.Context())
		w.teardown(t.Context())
		if w.downBusy {
			t.Fatal("it takes the volumes down while they are mounted anew")
		}
		close(m.letGo)
		synctest.Wait()
		select {
		case <-w.wake: // and so it decides again, that they are to be taken down
		default:
			t.Fatal("the end of the refresh wakes nobody")
		}
		w.drain()
		if w.refreshing {
			t.Error("it still waits for the refresh")
		}
	})
}

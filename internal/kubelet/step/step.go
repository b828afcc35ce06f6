package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/grant"
	"github.com/gitopsd/gitopsd/internal/kubelet/spec"
	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
	"github.com/gitopsd/gitopsd/internal/kubelet/volume"
)

// Sandbox is what surrounds a Pod's containers. Each step fills in its own fields; a step reads those of the steps it needs.
type Sandbox struct {
	Pod *v1.Pod
	Dir string // the Pod's own, below the node's data directory

	ID         string          // of this set of namespaces; another one means that all containers of before are gone
	Runtime    string          // containerd's name for what runs the containers, by the handler step; empty for the usual
	Users      userns.Range    // by the users step; zero for a Pod with the host's
	Namespaces spec.Namespaces // by the namespaces step
	Hostname   string
	FQDN       string

	Volumes map[string]volume.Volume // by the volumes step
	Devices map[string]grant.Grant   // by the devices step, by container
	IPs     []string                 // by the network step
}

// Early is a copy without what late steps fill in; it may be taken while those still run.
func (s *Sandbox) Early() Sandbox {
	return Sandbox{Pod: s.Pod, Dir: s.Dir, ID: s.ID, Runtime: s.Runtime, Users: s.Users, Namespaces: s.Namespaces, Hostname: s.Hostname, FQDN: s.FQDN, Volumes: s.Volumes, Devices: s.Devices}
}

// Step is one part of a Sandbox.
//
// The life of a Pod, as a step sees it: Setup is called once or more, with the same or (after a restart of the daemon) a new Sandbox value
// for the same directory. An error means that the Pod waits and Setup is called again later. While the Pod runs, Setup may be called at any
// time to bring things up to date. In the end Teardown is called, once or more until it gives no error, in the opposite order of the setups,
// also if Setup never was called or failed; it may rely on nothing but Dir and the Pod's UID, and of a Pod that nobody knows any more there is no more.
type Step interface {
	Name() string
	// Needs names the steps that must have been set up before.
	Needs() []string
	Setup(ctx context.Context, s *Sandbox) error
	Teardown(ctx context.Context, s *Sandbox) error
}

// Failure is a step that failed; its text is fit for an event.
type Failure struct {
	Step string
	Err  error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Plan is the steps of a node, in an order in which each comes after those it needs.
type Plan struct {
	Steps []Step
	// Late names steps that containers can be created without, though not started.
	Late []string
}

// Setup sets up all steps, each as soon as what it needs is there. prepared is called when all but the late ones are.
func (p Plan) Setup(ctx context.Context, s *Sandbox, prepared func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(map[string]chan struct{}, len(p.Steps))
	for _, st := range p.Steps {
		done[st.Name()] = make(chan struct{})
	}
	var wg, early sync.WaitGroup
	for _, st := range p.Steps {
		run := func() {
			for _, n := range st.Needs() {
				select {
				case <-done[n]:
				case <-ctx.Done():
					return
				}
			}
			end := trace.Begin(ctx, "setup: "+st.Name())
			err := st.Setup(ctx, s)
			end()
			if err != nil {
				cancel(&Failure{st.Name(), err})
				return
			}
			close(done[st.Name()])
		}
		if slices.Contains(p.Late, st.Name()) {
			wg.Go(run)
		} else {
			early.Go(run)
		}
	}
	early.Wait()
	if context.Cause(ctx) == nil {
		prepared()
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Refresh sets up one step again, to bring it up to date.
func (p Plan) Refresh(ctx context.Context, name string, s *Sandbox) error {
	for _, st := range p.Steps {
		if st.Name() == name {
			if err := st.Setup(ctx, s); err != nil {
				return &Failure{name, err}
			}
			return nil
		}
	}
	return fmt.Errorf("there is no step %q", name)
}

// Teardown undoes all steps from the last to the first. One that fails does not keep the others from being undone, and all failures are given.
func (p Plan) Teardown(ctx context.Context, s *Sandbox) error {
	var all error
	for i := len(p.Steps) - 1; i >= 0; i-- {
		if err := p.Steps[i].Teardown(ctx, s); err != nil {
			all = errors.Join(all, &Failure{p.Steps[i].Name(), err})
		}
	}
	return all
}

package pod

import (
	"context"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/cpuset"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// pinNew gives a Pod that is new to the node the processors that it wants for itself, or says why it cannot have them; s.mu is held.
func (s *Set) pinNew(pod *v1.Pod) *lifecycle.Stop {
	changed, err := s.node.CPUs.Admit(pod)
	if err != nil {
		return unexpected(err)
	}
	if changed {
		s.pinAll()
	}
	return nil
}

// unexpected says in the kubelet's words that a Pod cannot have what it asks for, though whoever sent it here thought so.
func unexpected(err error) *lifecycle.Stop {
	return &lifecycle.Stop{Reason: "UnexpectedAdmissionError", Message: fmt.Sprintf("Pod was rejected: Allocate failed due to %v, which is unexpected", err)}
}

// unpin gives the processors that a Pod had for itself back to all; s.mu is held.
func (s *Set) unpin(uid types.UID) {
	changed, err := s.node.CPUs.Release(uid)
	if w := s.workers[uid]; err != nil && w != nil {
		w.log.Error("what processors the Pod had could not be written; after a restart they are kept for it until they are looked through", "err", err)
	}
	if changed {
		s.pinAll()
	}
}

// pinAll has every container moved to the processors that it may run on now; s.mu is held.
func (s *Set) pinAll() {
	for _, w := range s.workers {
		w.tell(func() { w.pin(s.ctx) })
	}
}

// pin moves the Pod's running containers to the processors that they may run on.
func (w *worker) pin(ctx context.Context) {
	if w.node.CPUs == nil {
		return
	}
	for name, c := range w.containers {
		cpus := w.node.CPUs.Of(w.pod.UID, name)
		if c.Phase != lifecycle.Running || c.cpus == cpus || c.moving {
			continue
		}
		id := c.ID
		// Nothing else: what it has otherwise is a resize's to change, which looks first whether it can be.
		resources := &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: cpus}}
		c.cpus, c.moving = cpus, true
		go func() {
			err := w.node.Runtime.Update(ctx, id, resources)
			if err != nil && ctx.Err() == nil {
				w.log.Warn("moving a container to other processors failed; it is tried again when they change, or the daemon starts", "container", name, "cpus", cpus, "err", err)
			}
			w.tell(func() {
				c := w.containers[name]
				if c == nil || c.ID != id {
					return
				}
				c.moving = false
				if err != nil {
					c.cpus = ""
				}
				if w.node.CPUs.Of(w.pod.UID, name) != cpus {
					w.pin(ctx) // they have changed meanwhile; one move after the other, or an earlier one might be the last
				}
			})
		}()
	}
}

// pinnedFor says why a Pod that has, or would have, processors for itself cannot be resized: they are given when it comes.
func (w *worker) pinnedFor(wanted *lifecycle.Resources) *lifecycle.Refusal {
	if !w.node.CPUs.Gives() || lifecycle.QOS(&w.pod.Spec) != v1.PodQOSGuaranteed {
		return nil
	}
	for name, r := range wanted.Containers {
		had := w.record.Given.Allocated.Containers[name]
		if r.Limits.Cpu().Cmp(*had.Limits.Cpu()) != 0 {
			return &lifecycle.Refusal{
				Reason:  v1.PodReasonInfeasible,
				Message: fmt.Sprintf("Resize is infeasible for Guaranteed Pods alongside CPU Manager policy %q", cpuset.Static),
			}
		}
	}
	return nil
}

package pod

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/static"
	"github.com/gitopsd/gitopsd/internal/kubelet/status"
)

// A static Pod is run like any other, but the API has only its mirror: that is where the status goes, and nobody is asked before the Pod is gone.

// StaticPod is one that has a worker.
type StaticPod struct {
	*v1.Pod      // as it was taken up
	Ending  bool // it was told to end
	// Again says that it was turned away for want of room, which there is now: it is to be ended and taken up anew.
	Again bool
}

// Static gives the static Pods that this node runs, those included that have not ended yet.
func (s *Set) Static() []StaticPod {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []StaticPod
	for _, w := range s.workers {
		if w.static {
			uid := w.first.UID
			again := s.turnedAway[uid] && !s.ending[uid] && s.room.lacks(w.first) == nil && s.ports.refuse(hostPorts(w.first)) == nil
			out = append(out, StaticPod{Pod: w.first, Ending: s.ending[uid], Again: again})
		}
	}
	return out
}

// EndStatic ends a static Pod, with the grace period that its manifest gives it.
func (s *Set) EndStatic(p *v1.Pod) {
	last := p.DeepCopy()
	last.DeletionGracePeriodSeconds = p.Spec.TerminationGracePeriodSeconds
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending[p.UID] = true
	s.vanished(p.UID, last)
}

// Mirrored takes in a static Pod's mirror, as the API has it; nil if there is none.
func (s *Set) Mirrored(uid types.UID, mirror *v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.workers[uid]; w != nil && w.static {
		w.tell(func() { w.mirrored(s.ctx, mirror) })
	}
}

func (w *worker) mirrored(ctx context.Context, mirror *v1.Pod) {
	var to status.Ref
	if mirror != nil {
		to = ref(mirror)
	}
	if w.mirror != to.UID {
		if w.mirror != "" {
			w.node.Status.Forget(w.mirror)
		}
		w.mirror = to.UID
		if mirror != nil {
			w.node.Status.Known(to, mirror.Status.DeepCopy())
			w.send(ctx, true)
		}
	}
	if mirror != nil {
		w.node.Status.Observed(ctx, to, mirror.ResourceVersion, &mirror.Status)
	}
}

// send has the Pod's status written to the API.
func (w *worker) send(ctx context.Context, urgent bool) {
	to := ref(w.pod)
	if w.static {
		to.UID = w.mirror
	}
	if to.UID != "" {
		w.node.Status.Set(ctx, to, w.pod.Status.DeepCopy(), urgent)
	}
}

func isStatic(p *v1.Pod) bool { return static.IsUID(p.UID) }

package pod

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// room is what of the node is given to which Pods, from when they are taken up until they have ended or are gone.
//
// The scheduler sees to it that Pods fit. But a Pod may name its node itself, and a running one may be resized: then nobody but the node can say no.
type room struct {
	allocatable v1.ResourceList
	held        map[types.UID]v1.ResourceList
	waiting     map[types.UID]*wish
}

// wish is a resize that waits for room.
type wish struct {
	pod   *v1.Pod // with the resources that it is to have
	since time.Time
}

func newRoom(allocatable v1.ResourceList) *room {
	return &room{allocatable: allocatable, held: map[types.UID]v1.ResourceList{}, waiting: map[types.UID]*wish{}}
}

// requests are what a Pod takes of a node's room.
func requests(pod *v1.Pod) v1.ResourceList {
	return resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
}

// hold notes what a Pod has.
func (r *room) hold(pod *v1.Pod) {
	r.held[pod.UID] = requests(pod)
	delete(r.waiting, pod.UID)
}

// drop notes that a Pod has ended or is gone, and says whether that made room.
func (r *room) drop(uid types.UID) bool {
	_, held := r.held[uid]
	delete(r.held, uid)
	delete(r.waiting, uid)
	return held
}

// shortage is a resource of which a Pod asks for more than there is left.
type shortage struct {
	name                      v1.ResourceName
	requested, used, capacity int64
}

// lacks finds what keeps a Pod from being given what it asks for, cpu in thousandths; nil when it fits. Its own present share counts as free.
// What the node does not have at all is the scheduler's business: a device that is gone for now, for instance.
func (r *room) lacks(pod *v1.Pod) *shortage {
	wanted := requests(pod)
	var short *shortage
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage} {
		total, ok := r.allocatable[name]
		want := wanted[name]
		if !ok || want.IsZero() {
			continue
		}
		s := &shortage{name: name, requested: amount(name, want), capacity: amount(name, total)}
		for uid, have := range r.held {
			if uid != pod.UID {
				s.used += amount(name, have[name])
			}
		}
		if s.requested > s.capacity {
			return s // the one that does not go away says more than one that does
		}
		if s.used+s.requested > s.capacity && short == nil {
			short = s
		}
	}
	if short != nil {
		return short
	}
	if pods, ok := r.allocatable[v1.ResourcePods]; ok {
		if _, counted := r.held[pod.UID]; !counted && int64(len(r.held)) >= pods.Value() {
			return &shortage{v1.ResourcePods, 1, int64(len(r.held)), pods.Value()}
		}
	}
	return nil
}

// outOf begins the reason of a Pod for which there was no room.
const outOf = "OutOf"

// admit holds what a Pod that is new to the node asks for, or says why there is no room for it.
func (r *room) admit(pod *v1.Pod) *lifecycle.Stop {
	s := r.lacks(pod)
	if s == nil {
		r.hold(pod)
		return nil
	}
	return &lifecycle.Stop{
		Reason: outOf + string(s.name),
		Message: fmt.Sprintf("Pod was rejected: Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
			s.name, s.requested, s.used, s.capacity),
	}
}

// resize holds what a Pod is to have from now on, or says why not; one that is only deferred is given it by freed, later.
func (r *room) resize(pod *v1.Pod, now time.Time) *lifecycle.Refusal {
	s := r.lacks(pod)
	if s == nil {
		r.hold(pod)
		return nil
	}
	if s.requested > s.capacity {
		delete(r.waiting, pod.UID)
		return &lifecycle.Refusal{
			Reason:  v1.PodReasonInfeasible,
			Message: fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", s.name, s.requested, s.capacity),
		}
	}
	w := r.waiting[pod.UID]
	if w == nil {
		w = &wish{since: now}
		r.waiting[pod.UID] = w
	}
	w.pod = pod
	return &lifecycle.Refusal{
		Reason: v1.PodReasonDeferred,
		Message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
			s.name, s.requested, s.used, s.capacity),
	}
}

// withdraw forgets a resize that waits: the Pod no longer asks for it.
func (r *room) withdraw(uid types.UID) { delete(r.waiting, uid) }

// freed gives room to resizes that wait for it: by priority, then by class, then to the one that has waited longest. It gives the Pods that got theirs.
func (r *room) freed() []*v1.Pod {
	order := make([]*wish, 0, len(r.waiting))
	for _, w := range r.waiting {
		order = append(order, w)
	}
	slices.SortFunc(order, func(a, b *wish) int {
		return cmp.Or(
			cmp.Compare(priority(b.pod), priority(a.pod)),
			cmp.Compare(classRank(b.pod), classRank(a.pod)),
			a.since.Compare(b.since),
			cmp.Compare(a.pod.UID, b.pod.UID),
		)
	})
	var out []*v1.Pod
	for _, w := range order {
		if r.lacks(w.pod) == nil {
			r.hold(w.pod)
			out = append(out, w.pod)
		}
	}
	return out
}

func amount(name v1.ResourceName, q resource.Quantity) int64 {
	if name == v1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func priority(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// classRank orders Pods by what they were promised.
func classRank(pod *v1.Pod) int {
	switch lifecycle.QOS(&pod.Spec) {
	case v1.PodQOSGuaranteed:
		return 2
	case v1.PodQOSBurstable:
		return 1
	}
	return 0
}

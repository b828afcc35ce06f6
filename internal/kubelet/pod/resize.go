package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/spec"
)

// given is what a resized Pod has been allocated, and how much of that is true already. It outlives the daemon, in the Pod's record; a Pod that was never
// resized has none and needs none.
type given struct {
	Allocated *lifecycle.Resources `json:"allocated"`
	// Group is what the Pod's control group was last set for, Containers what the newest attempts run with.
	Group      *lifecycle.Resources               `json:"group"`
	Containers map[string]v1.ResourceRequirements `json:"containers"`
}

// resizing is where a resize stands, beyond what is kept.
type resizing struct {
	refused *lifecycle.Refusal // why the resources that the spec asks for are not allocated
	busy    bool               // what is allocated is being made true
	failure *lifecycle.Failure
}

func (w *worker) resizeInput() lifecycle.Resize {
	r := lifecycle.Resize{Refused: w.resize.refused, Busy: w.resize.busy, Failure: w.resize.failure}
	if g := w.record.Given; g != nil {
		r.Allocated, r.Group = g.Allocated, g.Group
	}
	return r
}

// allocatedPod is the Pod with the resources that the node has given it, which is what everything of it is made from.
func (w *worker) allocatedPod() *v1.Pod {
	if w.record.Given == nil {
		return w.pod
	}
	return w.record.Given.Allocated.In(w.pod)
}

// resized takes in that the Pod's spec may ask for other resources than before.
func (w *worker) resized(before *v1.PodSpec) {
	wanted := lifecycle.ResourcesOf(&w.pod.Spec)
	if w.record.Given == nil {
		had := lifecycle.ResourcesOf(before)
		if wanted.Equal(had) {
			return
		}
		// Written before the checkpoint, which has the new spec: without it, that would be taken for what the Pod has.
		w.record.Given = &given{Allocated: had, Group: had, Containers: map[string]v1.ResourceRequirements{}}
		for name, c := range w.containers {
			if c.Resources != nil {
				w.record.Given.Containers[name] = *c.Resources
			}
		}
		w.keepRecord()
	}
	w.allocate(wanted)
}

// allocate asks the node for the resources that the Pod wants.
func (w *worker) allocate(wanted *lifecycle.Resources) {
	if wanted.Equal(w.record.Given.Allocated) {
		w.resize.refused = nil
		w.room.withdraw(w.pod.UID)
		return
	}
	before := w.resize.refused
	if w.resize.refused = w.pinnedFor(wanted); w.resize.refused == nil {
		w.resize.refused = w.room.resize(w.pod)
	}
	if w.resize.refused == nil {
		w.granted(wanted)
		return
	}
	if before == nil || before.Reason != w.resize.refused.Reason {
		w.event("", v1.EventTypeWarning, "Resize"+w.resize.refused.Reason, "%s", resizeText("Pod resize "+w.resize.refused.Reason, w.pod, w.resize.refused.Message))
	}
}

// reconsider asks again for what an earlier process was refused.
func (w *worker) reconsider() {
	if w.record.Given != nil {
		w.allocate(lifecycle.ResourcesOf(&w.pod.Spec))
	}
}

// granted takes in that the Pod has been allocated what it wants.
func (w *worker) granted(wanted *lifecycle.Resources) {
	w.resize.refused, w.resize.failure = nil, nil
	w.record.Given.Allocated = wanted
	w.keepRecord()
	w.stale = true // files of downward volumes may tell of it
	w.event("", v1.EventTypeNormal, "ResizeStarted", "%s", resizeText("Pod resize started", w.pod, ""))
}

// grant is granted, told by others: there is room for what the Pod waited for. What it wants may have changed meanwhile.
func (w *worker) grant(pod *v1.Pod) {
	wanted := lifecycle.ResourcesOf(&pod.Spec)
	if !wanted.Equal(lifecycle.ResourcesOf(&w.pod.Spec)) {
		w.allocate(lifecycle.ResourcesOf(&w.pod.Spec))
		return
	}
	w.granted(wanted)
}

// enact makes what is allocated true: the Pod's group is widened, its containers are changed, the group is narrowed.
func (w *worker) enact(ctx context.Context) {
	w.resize.busy = true
	g := w.record.Given
	wanted, group := g.Allocated, g.Group
	pod := w.allocatedPod()
	var changes []change
	for name, c := range w.containers {
		if c.Phase != lifecycle.Running || c.Resources == nil {
			continue
		}
		now := findIn(pod, name)
		if outgrown, _ := lifecycle.Outgrown(now, *c.Resources, now.Resources); outgrown {
			changes = append(changes, change{id: c.ID, container: now, had: *c.Resources})
		}
	}
	had := spec.PodLimits(w.node.Host, group.In(w.pod))
	go func() {
		err := w.node.resize(ctx, pod, had, changes)
		w.tell(func() {
			w.resize.busy = false
			if err != nil {
				w.resizeFailed(ctx, err)
				return
			}
			w.resize.failure = nil
			g.Group = wanted
			for _, ch := range changes {
				if c := w.containers[ch.container.Name]; c != nil && c.ID == ch.id {
					has := ch.container.Resources
					c.Resources = &has
					g.Containers[ch.container.Name] = has
				}
			}
			w.keepRecord()
			if wanted.Equal(g.Allocated) {
				w.event("", v1.EventTypeNormal, "ResizeCompleted", "%s", resizeText("Pod resize completed", pod, ""))
			}
		})
	}()
}

func (w *worker) resizeFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	count := 1
	if w.resize.failure != nil {
		count = w.resize.failure.Count + 1
	}
	if w.resize.failure == nil || w.resize.failure.Message != err.Error() {
		w.event("", v1.EventTypeWarning, "ResizeError", "%s", resizeText("Pod resize error", w.allocatedPod(), err.Error()))
	}
	w.resize.failure = &lifecycle.Failure{Reason: v1.PodReasonError, Message: err.Error(), At: time.Now(), Count: count}
}

// change is a running container that is to have other resources.
type change struct {
	id        string
	container *v1.Container // with what it is to have
	had       v1.ResourceRequirements
}

// resize changes a Pod's group and containers. had are the group's limits so far.
func (n *Node) resize(ctx context.Context, pod *v1.Pod, had cgroup.Limits, changes []change) error {
	uid := string(pod.UID)
	wanted := spec.PodLimits(n.Host, pod)
	// First of all, so that whatever fails then, there is room for containers that are started meanwhile with what is allocated.
	if err := n.Cgroups.Setup(uid, had.Union(wanted)); err != nil {
		return err
	}
	if err := n.belowUsage(uid, had, wanted, changes); err != nil {
		return err
	}
	for _, c := range changes {
		if err := n.Runtime.Update(ctx, c.id, spec.Update(n.Host, c.container)); err != nil {
			return err
		}
	}
	return n.Cgroups.Setup(uid, wanted)
}

// belowUsage refuses limits of memory that are met already: the kernel would kill for them. The Pod is asked again later, it may have become smaller.
func (n *Node) belowUsage(uid string, had, wanted cgroup.Limits, changes []change) error {
	var errs []error
	if used := int64(n.Cgroups.Usage(n.Cgroups.Pod(uid)).Memory); shrinks(had.Memory, wanted.Memory) && used >= wanted.Memory {
		errs = append(errs, &cgroup.InUse{Limit: wanted.Memory, Used: used})
	}
	for _, c := range changes {
		limit := c.container.Resources.Limits.Memory().Value()
		if !shrinks(c.had.Limits.Memory().Value(), limit) {
			continue
		}
		if used := int64(n.Cgroups.Usage(n.Cgroups.Container(uid, c.id)).Memory); used >= limit {
			errs = append(errs, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", c.container.Name, limit, used))
		}
	}
	return errors.Join(errs...)
}

// shrinks says whether a limit becomes smaller; 0 is none.
func shrinks(had, wanted int64) bool { return wanted > 0 && (had == 0 || wanted < had) }

// resizeText is the text of an event about a resize: as the kubelet's, with the resources in question as JSON.
func resizeText(what string, pod *v1.Pod, trouble string) string {
	type part struct {
		Name      string                  `json:"name"`
		Resources v1.ResourceRequirements `json:"resources,omitempty"`
	}
	var s struct {
		InitContainers []part `json:"initContainers,omitempty"`
		Containers     []part `json:"containers,omitempty"`
		Generation     int64  `json:"generation,omitempty"`
		Error          string `json:"error,omitempty"`
	}
	s.Generation, s.Error = pod.Generation, trouble
	for _, c := range pod.Spec.InitContainers {
		s.InitContainers = append(s.InitContainers, part{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		s.Containers = append(s.Containers, part{c.Name, c.Resources})
	}
	b, err := json.Marshal(s)
	if err != nil {
		return what
	}
	return what + ": " + string(b)
}

// share is a worker's way to the node's room.
type share struct{ set *Set }

func (s share) resize(pod *v1.Pod) *lifecycle.Refusal {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	refused := s.set.room.resize(pod, time.Now())
	if refused == nil {
		s.set.freed() // it may have become smaller
	}
	return refused
}

func (s share) withdraw(uid types.UID) {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	s.set.room.withdraw(uid)
}

// freed tells Pods that waited for room that they have it; s.mu is held.
func (s *Set) freed() {
	for _, pod := range s.room.freed() {
		if w := s.workers[pod.UID]; w != nil {
			w.tell(func() { w.grant(pod) })
		}
	}
}

// release takes back what a Pod held of the node; s.mu is held.
func (s *Set) release(uid types.UID) {
	_, ports := s.ports[uid]
	delete(s.ports, uid)
	room := s.room.drop(uid)
	if room {
		s.freed()
	}
	if (room || ports) && len(s.turnedAway) > 0 {
		s.gone() // has them looked at again
	}
}

// heldBefore is the Pod with what an earlier process gave it; its record is not read elsewhere yet.
func (w *worker) heldBefore(pod *v1.Pod) *v1.Pod {
	if r, err := loadPast(w.dir); err == nil && r.Given != nil {
		return r.Given.Allocated.In(pod)
	}
	return pod
}

// runsWith takes in what a container was created with.
func (w *worker) runsWith(c *container, r v1.ResourceRequirements) {
	c.Resources = &r
	if g := w.record.Given; g != nil {
		g.Containers[c.spec.Name] = r
		w.keepRecord()
	}
}

// ranWith recalls what a container was created with, or changed to, by an earlier process.
func (w *worker) ranWith(c *container) {
	r := c.spec.Resources
	if g := w.record.Given; g != nil {
		if had, ok := g.Containers[c.spec.Name]; ok {
			r = had
		} else if allocated, ok := g.Allocated.Containers[c.spec.Name]; ok {
			r = allocated
		}
	}
	c.Resources = &r
}

// keepRecord writes the record down.
func (w *worker) keepRecord() {
	if err := w.record.save(w.dir); err != nil {
		w.log.Error("keeping the Pod's record failed; after a restart its resources are those of its spec", "err", err)
	}
}

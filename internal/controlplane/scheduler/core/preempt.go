package core

import (
	"cmp"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Preemption is room made for a Pod by taking others of lower priority away.
type Preemption struct {
	Node       string
	Victims    []*snapshot.Pod // the most important first; none where room is being made already
	Violations int             // how many of them a PodDisruptionBudget would have kept
}

// Decision is what to do with one Pod.
type Decision struct {
	Result
	// Preempts is how room can be made; nil if the Pod has a node, may not or cannot preempt, or if room is being made for it already.
	Preempts *Preemption
	// Awaits says that room is being made for the Pod on the node that it was promised.
	Awaits bool
	// Frees are ResourceClaims whose devices the Pod holds for nothing. They are taken back, and then the Pod is looked at again.
	Frees []*resourcev1.ResourceClaim
	// Promised is the node where a place was found for a Pod that waits only because others of its gang do; "" for none.
	Promised string
}

// Decide chooses a node for pod, or how to make room for it.
func (c *Scheduler) Decide(pod *snapshot.Pod, s *snapshot.Snapshot) Decision {
	if d, ok := c.again(pod, s); ok {
		return d
	}
	d := c.decide(pod, s)
	c.remember(pod, s, d)
	return d
}

func (c *Scheduler) decide(pod *snapshot.Pod, s *snapshot.Snapshot) Decision {
	d := Decision{Result: c.Schedule(pod, s)}
	if d.Node != "" || d.Refused != "" {
		return d
	}
	if d.Awaits = c.awaits(pod, s); d.Awaits {
		return d
	}
	devices := c.devices()
	// Devices that nobody uses are given up before a Pod is that works.
	if d.Frees = c.inTheWay(pod, s, devices); d.Frees != nil {
		return d
	}
	if !c.profile.NeverPreempt {
		d.Preempts = c.Preempt(pod, s)
	}
	if d.Preempts == nil && devices != nil {
		d.Frees = devices.Idle()
	}
	return d
}

// awaits says whether the room that was promised to the Pod is still being made, so that making room elsewhere as well would be harm for nothing.
func (c *Scheduler) awaits(pod *snapshot.Pod, s *snapshot.Snapshot) bool {
	n := s.Node(s.NominatedNode(pod.Object.UID))
	if n == nil {
		return false
	}
	if k := firstFailing(c.checks, n); k != nil && k.Lasting(n) {
		return false // it was cordoned since, or its labels changed
	}
	for _, p := range n.Pods {
		if p.Priority < pod.Priority && s.Evicted(p) {
			return true
		}
	}
	return false
}

// Preempt finds the node where room for the Pod does the least harm; nil if there is none. It changes nothing: the caller evicts.
func (c *Scheduler) Preempt(pod *snapshot.Pod, s *snapshot.Snapshot) *Preemption {
	if p := pod.Object.Spec.PreemptionPolicy; p != nil && *p == corev1.PreemptNever || !s.Below(pod.Priority) {
		return nil
	}
	if c.prepare(pod, s) != nil {
		return nil
	}
	var hopeful []*snapshot.Node
	for _, n := range c.candidates(pod, s) {
		// A node that passes is one whose room was promised to others.
		if k := firstFailing(c.checks, n); k == nil || !k.Lasting(n) {
			hopeful = append(hopeful, n)
		}
	}
	var best *Preemption
	found, want := 0, c.enough(len(hopeful))
	for i := range hopeful {
		if p := c.room(pod, s, hopeful[(c.next+i)%len(hopeful)]); p != nil {
			if best == nil || less(p, best) {
				best = p
			}
			// Among a hundred nodes the least harm is hardly more than among thousands, unless all of them would break a budget.
			if found++; found == want || found >= alwaysEnough && best.Violations == 0 {
				break
			}
		}
	}
	return best
}

// less says whether a does less harm than b: fewer broken budgets, then a less important most important victim, then the smaller sum of
// priorities, then fewer victims, then a most important victim that has started later.
func less(a, b *Preemption) bool {
	return cmp.Or(
		cmp.Compare(a.Violations, b.Violations),
		cmp.Compare(a.highest(), b.highest()),
		cmp.Compare(a.sum(), b.sum()),
		cmp.Compare(len(a.Victims), len(b.Victims)),
		cmp.Compare(b.started(), a.started()),
	) < 0
}

func (p *Preemption) highest() int64 {
	if len(p.Victims) == 0 {
		return math.MinInt64
	}
	return int64(p.Victims[0].Priority)
}

// sum adds up the priorities counted from the lowest possible, so that more victims are never less harm because their priorities are negative.
func (p *Preemption) sum() (sum int64) {
	for _, v := range p.Victims {
		sum += int64(v.Priority) - math.MinInt32
	}
	return sum
}

// started is when the first of the most important victims started.
func (p *Preemption) started() int64 {
	first := int64(math.MaxInt64)
	for _, v := range p.Victims {
		if int64(v.Priority) == p.highest() {
			first = min(first, started(v))
		}
	}
	return first
}

func started(p *snapshot.Pod) int64 {
	if t := p.Object.Status.StartTime; t != nil {
		return t.UnixNano()
	}
	return math.MaxInt64
}

// Room finds out what room for the Pod would cost on one node, if the Pod had that priority; nil if there could be none.
func (c *Scheduler) Room(pod *snapshot.Pod, priority int32, s *snapshot.Snapshot, node string) *Preemption {
	n := s.Node(node)
	if n == nil {
		return nil
	}
	as := *pod
	as.Priority = priority
	return c.room(&as, s, n)
}

// room finds out which Pods have to leave a node so that it can run the Pod; nil if it cannot. Of those of lower priority as many stay as can,
// first those that a budget protects, then the most important.
func (c *Scheduler) room(pod *snapshot.Pod, s *snapshot.Snapshot, n *snapshot.Node) *Preemption {
	var victims []*snapshot.Pod
	going := false
	t := s.Try()
	defer t.End()
	for _, p := range lower(n, pod.Priority) {
		t.Without(p.Object.UID)
		// Those that leave anyway are no harm.
		if s.Evicted(p) {
			going = true
		} else {
			victims = append(victims, p)
		}
	}
	if len(victims) == 0 && !going {
		return nil
	}
	fits := func() (ok bool) {
		if c.prepare(pod, s) == nil {
			c.judge(pod, s, n, func(k *check) { ok = k == nil })
		}
		return ok
	}
	if !fits() {
		return nil
	}
	found := &Preemption{Node: n.Name()}
	protected := protected(victims, s)
	stays := func(p *snapshot.Pod) bool {
		mark := t.Mark()
		t.With(p, n.Name())
		if fits() {
			return true
		}
		t.Back(mark)
		return false
	}
	for _, inTurn := range []bool{true, false} {
		for _, p := range victims {
			if protected[p.Object.UID] == inTurn && !stays(p) {
				found.Victims = append(found.Victims, p)
				if inTurn {
					found.Violations++
				}
			}
		}
	}
	slices.SortStableFunc(found.Victims, byImportance)
	return found
}

// lower are the Pods of a node with less than that priority, the most important first.
func lower(n *snapshot.Node, priority int32) []*snapshot.Pod {
	var out []*snapshot.Pod
	for _, p := range n.Pods {
		if p.Priority < priority {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, byImportance)
	return out
}

// byImportance orders by priority, and those of like priority by how long they have been running. Names decide last, so that equals have one order.
func byImportance(a, b *snapshot.Pod) int {
	return cmp.Or(
		cmp.Compare(b.Priority, a.Priority), cmp.Compare(started(a), started(b)),
		cmp.Compare(a.Object.Namespace, b.Object.Namespace), cmp.Compare(a.Object.Name, b.Object.Name),
	)
}

// protected are those of the victims that a budget does not let go, if the others before them in the list go too.
func protected(victims []*snapshot.Pod, s *snapshot.Snapshot) map[types.UID]bool {
	out := map[types.UID]bool{}
	spent := map[*snapshot.Budget]int32{}
	s.Announced(func(p *snapshot.Pod) {
		s.Budgets(p.Object, func(b *snapshot.Budget) { spent[b]++ })
	})
	for _, p := range victims {
		if p.Object.DeletionTimestamp != nil {
			continue // no budget counts it any more
		}
		s.Budgets(p.Object, func(b *snapshot.Budget) {
			if spent[b]++; spent[b] > b.Allowed {
				out[p.Object.UID] = true
			}
		})
	}
	return out
}

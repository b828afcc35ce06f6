package core

import (
	"slices"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Profile says which plugins decide, and how thoroughly nodes are searched.
type Profile struct {
	Filters []plugins.Filter
	Scores  []plugins.Weighted
	// Percentage of the nodes that is enough to choose from, once they can run the Pod; 0 for a share that falls with the size of the cluster.
	Percentage int
	// NeverPreempt lets Pods wait whatever their priority.
	NeverPreempt bool
}

// DefaultProfile has all plugins.
func DefaultProfile() Profile { return Profile{Filters: plugins.Filters(), Scores: plugins.Scores()} }

// Scheduler chooses nodes. It keeps buffers between calls and is not safe for concurrent use.
type Scheduler struct {
	profile Profile

	next     int // where the next search begins, so that successive Pods do not all look at the same nodes
	checks   []check
	rival    []check // those prepared with nominated Pods in place
	named    []*snapshot.Node
	feasible []*snapshot.Node
	totals   []int64
	last     turnedAway
}

type check struct {
	plugins.Check
	filter int
}

// New makes a Scheduler.
func New(p Profile) *Scheduler { return &Scheduler{profile: p} }

// Bounds of the search in large clusters: looking at every node makes the choice hardly better and much slower.
const (
	alwaysEnough = 100 // feasible nodes that are enough in any cluster
	leastPercent = 5   // share of the nodes that is enough in the largest
)

// enough is the number of feasible nodes after which the search ends. Unless the profile names a share, it falls from 50% at a hundred nodes to
// leastPercent at some 5,600.
func (c *Scheduler) enough(nodes int) int {
	if nodes <= alwaysEnough || c.profile.Percentage >= 100 {
		return nodes
	}
	percent := c.profile.Percentage
	if percent <= 0 {
		percent = max(leastPercent, 50-nodes/125)
	}
	return max(alwaysEnough, nodes*percent/100)
}

// Schedule chooses a node for pod among those that can run it as things are.
func (c *Scheduler) Schedule(pod *snapshot.Pod, s *snapshot.Snapshot) Result {
	s.Tidy()
	if refused := c.prepare(pod, s); refused != nil {
		return refused.result(s)
	}
	// Room was made for the Pod there, and is kept from Pods of lower priority.
	if n := s.Node(s.NominatedNode(pod.Object.UID)); n != nil && c.passes(pod, s, n) {
		return Result{Node: n.Name(), Feasible: 1, Looked: 1}
	}
	nodes := c.candidates(pod, s)
	c.feasible = c.feasible[:0]
	want := c.enough(len(nodes))
	seen := 0
	for ; seen < len(nodes) && len(c.feasible) < want; seen++ {
		n := nodes[(c.next+seen)%len(nodes)]
		if c.passes(pod, s, n) {
			c.feasible = append(c.feasible, n)
		}
	}
	if len(c.feasible) == 0 {
		return c.explain(pod, s, nodes)
	}
	best := c.best(pod, s)
	step := seen
	if seen == len(nodes) {
		step = 1 // the whole cluster was searched: begin with another node next time, so that equal ones are taken in turn
	}
	c.next = (c.next + step) % len(s.Nodes())
	return Result{Node: best.Name(), Feasible: len(c.feasible), Looked: seen}
}

// refusal is a filter that has refused the Pod whatever the node.
type refusal struct {
	*plugins.Refused
	filter int
}

func (r *refusal) result(s *snapshot.Snapshot) Result {
	return Result{Nodes: len(s.Nodes()), Refused: r.Reason, Filters: 1 << r.filter}
}

// prepare asks every filter what it has to say about the Pod, and stops at one that refuses it.
func (c *Scheduler) prepare(pod *snapshot.Pod, s *snapshot.Snapshot) (r *refusal) {
	c.checks, r = c.prepared(c.checks, pod, s)
	return r
}

func (c *Scheduler) prepared(checks []check, pod *snapshot.Pod, s *snapshot.Snapshot) ([]check, *refusal) {
	checks = checks[:0]
	for i, f := range c.profile.Filters {
		k := f.Prepare(pod, s)
		if k == nil {
			continue
		}
		if r, ok := k.(*plugins.Refused); ok {
			return checks, &refusal{r, i}
		}
		checks = append(checks, check{k, i})
	}
	return checks, nil
}

// candidates are the nodes to look at: those that a filter names, or all.
func (c *Scheduler) candidates(pod *snapshot.Pod, s *snapshot.Snapshot) []*snapshot.Node {
	k, names := c.narrowing(pod)
	if k == nil {
		return s.Nodes()
	}
	c.named = c.named[:0]
	for _, name := range names {
		if n := s.Node(name); n != nil {
			c.named = append(c.named, n)
		}
	}
	return c.named
}

// narrowing is the check of a filter that names the nodes which may pass, with their names; nil for none.
func (c *Scheduler) narrowing(pod *snapshot.Pod) (*check, []string) {
	for i := range c.checks {
		if f, ok := c.profile.Filters[c.checks[i].filter].(plugins.Narrowing); ok {
			if names, ok := f.Only(pod); ok {
				return &c.checks[i], names
			}
		}
	}
	return nil, nil
}

func firstFailing(checks []check, n *snapshot.Node) *check {
	for i := range checks {
		if !checks[i].Passes(n) {
			return &checks[i]
		}
	}
	return nil
}

// passes says whether the node can run the Pod, both as it is and once the Pods are there that were promised room before this one.
func (c *Scheduler) passes(pod *snapshot.Pod, s *snapshot.Snapshot, n *snapshot.Node) bool {
	if firstFailing(c.checks, n) != nil {
		return false
	}
	if len(n.Nominated()) == 0 {
		return true
	}
	ok := false
	c.judge(pod, s, n, func(k *check) { ok = k == nil })
	return ok
}

// judge calls f with the first check that turns the node away, nil for none, while what that check looks at is in place.
func (c *Scheduler) judge(pod *snapshot.Pod, s *snapshot.Snapshot, n *snapshot.Node, f func(*check)) {
	k := firstFailing(c.checks, n)
	if k != nil || len(n.Nominated()) == 0 {
		f(k)
		return
	}
	t := s.Try()
	defer t.End()
	for _, p := range n.Nominated() {
		// A promise to a Pod of lower priority does not bind. A Pod that is being tried out elsewhere is not here as well.
		if _, _, placed := s.Placed(p.Object.UID); !placed && p.Priority >= pod.Priority && p.Object.UID != pod.Object.UID {
			t.With(p, n.Name())
		}
	}
	if t.Mark() > 0 {
		c.rival, _ = c.prepared(c.rival, pod, s)
		k = firstFailing(c.rival, n)
	}
	f(k)
}

// best rates the feasible nodes; of equal ones the first wins.
func (c *Scheduler) best(pod *snapshot.Pod, s *snapshot.Snapshot) *snapshot.Node {
	if len(c.feasible) == 1 {
		return c.feasible[0]
	}
	c.totals = slices.Grow(c.totals[:0], len(c.feasible))[:len(c.feasible)]
	clear(c.totals)
	for _, sc := range c.profile.Scores {
		rate := sc.Prepare(pod, s, c.feasible)
		if rate == nil {
			continue
		}
		for i, n := range c.feasible {
			c.totals[i] += sc.Weight * rate(n)
		}
	}
	top := 0
	for i, t := range c.totals {
		if t > c.totals[top] {
			top = i
		}
	}
	return c.feasible[top]
}

func (c *Scheduler) explain(pod *snapshot.Pod, s *snapshot.Snapshot, nodes []*snapshot.Node) Result {
	r := Result{Nodes: len(s.Nodes()), Looked: len(nodes), Reasons: map[string]int{}}
	for _, n := range nodes {
		c.judge(pod, s, n, func(k *check) {
			r.Filters |= 1 << k.filter
			for _, reason := range k.Explain(n) {
				r.Reasons[reason]++
			}
		})
	}
	if k, _ := c.narrowing(pod); k != nil && len(nodes) < len(s.Nodes()) {
		r.Filters |= 1 << k.filter
		for _, n := range s.Nodes() {
			if !slices.Contains(nodes, n) {
				for _, reason := range k.Explain(n) {
					r.Reasons[reason]++
				}
			}
		}
	}
	return r
}

// Concerned says whether any of those filters has to be asked about a change.
func (c *Scheduler) Concerned(by FilterSet, change plugins.Change) bool {
	if by == 0 {
		return change&plugins.Added != 0 // there was no node at all
	}
	for i, f := range c.profile.Filters {
		if by&(1<<i) != 0 && f.Concerns()&change != 0 {
			return true
		}
	}
	return false
}

// Helped says whether a Pod that waits because of those filters should be looked at again after e.
func (c *Scheduler) Helped(pod *snapshot.Pod, by FilterSet, e plugins.Event) bool {
	if by == 0 {
		return e.Change&plugins.Added != 0
	}
	for i, f := range c.profile.Filters {
		if by&(1<<i) != 0 && f.Concerns()&e.Change != 0 && f.Helped(pod, e) {
			return true
		}
	}
	return false
}

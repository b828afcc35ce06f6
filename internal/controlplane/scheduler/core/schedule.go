package core

import (
	"slices"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Scheduler chooses nodes. It keeps buffers between calls and is not safe for concurrent use.
type Scheduler struct {
	filters []plugins.Filter
	scores  []plugins.Weighted

	next     int // where the next search begins, so that successive Pods do not all look at the same nodes
	checks   []check
	feasible []*snapshot.Node
	totals   []int64
}

type check struct {
	plugins.Check
	filter int
}

// New makes a Scheduler with all plugins.
func New() *Scheduler { return &Scheduler{filters: plugins.Filters(), scores: plugins.Scores()} }

// Bounds of the search in large clusters: looking at every node makes the choice hardly better and much slower.
const (
	alwaysEnough = 100 // feasible nodes that are enough in any cluster
	leastPercent = 5   // share of the nodes that is enough in the largest
)

// enough is the number of feasible nodes after which the search ends. The share falls from 50% at a hundred nodes to leastPercent at some 5,600.
func enough(nodes int) int {
	if nodes <= alwaysEnough {
		return nodes
	}
	return max(alwaysEnough, nodes*max(leastPercent, 50-nodes/125)/100)
}

// Schedule chooses a node for pod.
func (c *Scheduler) Schedule(pod *snapshot.Pod, s *snapshot.Snapshot) Result {
	s.Tidy()
	nodes := s.Nodes()
	c.prepare(pod, s)
	c.feasible = c.feasible[:0]
	want := enough(len(nodes))
	seen := 0
	for ; seen < len(nodes) && len(c.feasible) < want; seen++ {
		n := nodes[(c.next+seen)%len(nodes)]
		if c.firstFailing(n) == nil {
			c.feasible = append(c.feasible, n)
		}
	}
	if len(c.feasible) == 0 {
		return c.explain(nodes)
	}
	best := c.best(pod, s)
	step := seen
	if seen == len(nodes) {
		step = 1 // the whole cluster was searched: begin with another node next time, so that equal ones are taken in turn
	}
	c.next = (c.next + step) % len(nodes)
	return Result{Node: best.Name(), Feasible: len(c.feasible), Looked: seen}
}

func (c *Scheduler) prepare(pod *snapshot.Pod, s *snapshot.Snapshot) {
	c.checks = c.checks[:0]
	for i, f := range c.filters {
		if k := f.Prepare(pod, s); k != nil {
			c.checks = append(c.checks, check{k, i})
		}
	}
}

func (c *Scheduler) firstFailing(n *snapshot.Node) *check {
	for i := range c.checks {
		if !c.checks[i].Passes(n) {
			return &c.checks[i]
		}
	}
	return nil
}

// best rates the feasible nodes; of equal ones the first wins.
func (c *Scheduler) best(pod *snapshot.Pod, s *snapshot.Snapshot) *snapshot.Node {
	if len(c.feasible) == 1 {
		return c.feasible[0]
	}
	c.totals = slices.Grow(c.totals[:0], len(c.feasible))[:len(c.feasible)]
	clear(c.totals)
	for _, sc := range c.scores {
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

func (c *Scheduler) explain(nodes []*snapshot.Node) Result {
	r := Result{Looked: len(nodes)}
	for _, n := range nodes {
		k := c.firstFailing(n)
		r.Rejections = append(r.Rejections, Rejection{Node: n.Name(), Filter: c.filters[k.filter].Name(), Reasons: k.Explain(n)})
		r.Filters |= 1 << k.filter
	}
	return r
}

// Helped says whether a Pod that waits because of those filters should be looked at again after e.
func (c *Scheduler) Helped(pod *snapshot.Pod, by FilterSet, e plugins.Event) bool {
	if by == 0 {
		return e.Change&plugins.Added != 0 // there was no node at all
	}
	for i, f := range c.filters {
		if by&(1<<i) != 0 && f.Helped(pod, e) {
			return true
		}
	}
	return false
}

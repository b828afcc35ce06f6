package plugins

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// PodAffinity turns away from domains where the Pod would break a required Pod affinity or anti-affinity: its own, or the anti-affinity of a Pod that is
// there already. Existing Pods' required affinity is not looked at: it speaks of when they were placed (requiredDuringSchedulingIgnoredDuringExecution).
type PodAffinity struct{}

var _ Filter = PodAffinity{}

// Name is the filter's name.
func (PodAffinity) Name() string { return "InterPodAffinity" }

// Prepare finds the domains that are forbidden, and those that are asked for.
func (PodAffinity) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check {
	c := &podAffinityCheck{}
	s.Repelling(func(i *snapshot.Interest) {
		if s.Matches(&i.Term, pod) {
			c.repelled = mark(c.repelled, s, i.Term.Key, i.Of)
		}
	})
	if a := pod.Affinity; a != nil {
		for i := range a.RequiredAnti {
			t := &a.RequiredAnti[i]
			s.GroupsMatching(t, func(g *snapshot.Group) { c.avoided = mark(c.avoided, s, t.Key, g) })
		}
		c.sought = sought(pod, s)
	}
	if len(c.repelled)+len(c.avoided)+len(c.sought) == 0 {
		return nil
	}
	return c
}

// sought are the domains that the terms of required affinity ask for. One Pod has to match all of them, not one Pod each.
func sought(pod *snapshot.Pod, s *snapshot.Snapshot) []domains {
	terms := pod.Affinity.Required
	if len(terms) == 0 {
		return nil
	}
	out := make([]domains, len(terms))
	for i := range terms {
		out[i] = newDomains(s.Topology(terms[i].Key))
	}
	found := false
	s.GroupsMatching(&terms[0], func(g *snapshot.Group) {
		for i := range terms[1:] {
			if !s.MatchesGroup(&terms[1+i], g) {
				return
			}
		}
		for i := range out {
			found = out[i].mark(s, g) || found
		}
	})
	// The first Pod of a series whose members want to be together has nobody to join, and may go anywhere that is a domain at all.
	if !found && matchesItself(pod, s) {
		for i := range out {
			out[i].all = true
		}
	}
	return out
}

func matchesItself(pod *snapshot.Pod, s *snapshot.Snapshot) bool {
	for i := range pod.Affinity.Required {
		if !s.Matches(&pod.Affinity.Required[i], pod) {
			return false
		}
	}
	return true
}

// Concerns are what changes domains, namespaces and Pods.
func (PodAffinity) Concerns() Change {
	return Added | Labels | Namespaces | Removed | PodGone | PodPlaced
}

// Helped by a Pod that is looked for and comes, one that is in the way and goes, and by whatever changes domains.
func (PodAffinity) Helped(pod *snapshot.Pod, e Event) bool {
	if e.Change&(Added|Labels|Namespaces|Removed) != 0 {
		return true
	}
	if e.Pod == nil {
		return false
	}
	if a := pod.Affinity; a != nil {
		// A Pod that goes may leave the first of a series free to begin anew elsewhere.
		if len(a.Required) > 0 && mayMatchAny(a.Required, e.Pod) || e.Change&PodGone != 0 && mayMatchAny(a.RequiredAnti, e.Pod) {
			return true
		}
	}
	return e.Change&PodGone != 0 && e.Pod.Affinity != nil && mayMatchAny(e.Pod.Affinity.RequiredAnti, pod)
}

func mayMatchAny(terms []snapshot.Term, pod *snapshot.Pod) bool {
	for i := range terms {
		if terms[i].MayMatch(pod) {
			return true
		}
	}
	return false
}

type podAffinityCheck struct {
	repelled []domains // by Pods that are there
	avoided  []domains // by the Pod itself
	sought   []domains // by the Pod itself: it must be in one of each
}

func (c *podAffinityCheck) Passes(n *snapshot.Node) bool {
	return !inAny(c.repelled, n) && !inAny(c.avoided, n) && inAll(c.sought, n)
}

func (c *podAffinityCheck) Explain(n *snapshot.Node) []string {
	switch {
	case !inAll(c.sought, n):
		return []string{"node(s) didn't match pod affinity rules"}
	case inAny(c.avoided, n):
		return []string{"node(s) didn't match pod anti-affinity rules"}
	}
	return []string{"node(s) didn't satisfy existing pods anti-affinity rules"}
}

func (c *podAffinityCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for i := range c.sought {
		d := &c.sought[i]
		switch at := n.Domain(d.topology); {
		case d.has(n):
		case at == snapshot.NoDomain:
			out = append(out, fmt.Sprintf("required Pod affinity asks for a label %s, the node has none: kubectl label node %s %s=…", d.topology.Key, n.Name(), d.topology.Key))
		case !slices.Contains(d.in, true):
			if nowhere := "required Pod affinity: no Pod that all its terms select runs anywhere, and the Pod is not such a one itself"; !slices.Contains(out, nowhere) {
				out = append(out, nowhere)
			}
		default:
			out = append(out, fmt.Sprintf("required Pod affinity: no Pod that it selects runs in %s=%s; some run in %s", d.topology.Key, d.topology.Value(at), d.some()))
		}
	}
	against := func(sets []domains, whose string) {
		for i := range sets {
			if d := &sets[i]; d.has(n) {
				out = append(out, fmt.Sprintf("%s: such a Pod runs in %s=%s; another domain, or that Pod gone, would do",
					whose, d.topology.Key, d.topology.Value(n.Domain(d.topology))))
			}
		}
	}
	against(c.avoided, "required Pod anti-affinity of the Pod")
	against(c.repelled, "required Pod anti-affinity of Pods that run there")
	return out
}

// Lasting where Pods are lacking: none that leaves brings another.
func (c *podAffinityCheck) Lasting(n *snapshot.Node) bool { return !inAll(c.sought, n) }

// domains is a set of domains of one label.
type domains struct {
	topology *snapshot.Topology
	in       []bool
	all      bool
}

// some names a few of the domains.
func (d *domains) some() string {
	var names []string
	for id, in := range d.in {
		if in {
			names = append(names, d.topology.Value(snapshot.Domain(id)))
		}
	}
	slices.Sort(names)
	if len(names) > 3 {
		names = append(names[:3], "…")
	}
	return d.topology.Key + "=" + strings.Join(names, "|")
}

func newDomains(t *snapshot.Topology) domains {
	return domains{topology: t, in: make([]bool, t.Size())}
}

// mark adds the domains that Pods of a group are in, and says whether there are any.
func (d *domains) mark(s *snapshot.Snapshot, g *snapshot.Group) bool {
	counts := s.Counts(g, d.topology)
	for id := range counts {
		d.in[id] = true
	}
	return len(counts) > 0
}

func (d *domains) has(n *snapshot.Node) bool {
	id := n.Domain(d.topology)
	return id != snapshot.NoDomain && (d.all || d.in[id])
}

// mark adds to sets, one for each label, the domains that Pods of a group are in.
func mark(sets []domains, s *snapshot.Snapshot, key string, g *snapshot.Group) []domains {
	at := len(sets)
	for i := range sets {
		if sets[i].topology.Key == key {
			at = i
		}
	}
	if at == len(sets) {
		sets = append(sets, newDomains(s.Topology(key)))
	}
	sets[at].mark(s, g)
	return sets
}

func inAny(sets []domains, n *snapshot.Node) bool {
	for i := range sets {
		if sets[i].has(n) {
			return true
		}
	}
	return false
}

func inAll(sets []domains, n *snapshot.Node) bool {
	for i := range sets {
		if !sets[i].has(n) {
			return false
		}
	}
	return true
}

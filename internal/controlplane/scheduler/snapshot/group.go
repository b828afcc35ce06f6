package snapshot

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Group is the Pods of one namespace and workload that have the same labels. A selector matches all of a group or none, so it is asked once for each group and not for
// each Pod; replicas of one workload are one group.
type Group struct {
	Namespace string
	Labels    map[string]string
	Workload  Workload
	// Terminating Pods are groups of their own: their places are about to be free, which some count as free and others do not.
	Terminating bool

	key    string
	pods   int
	nodes  map[*Node]int32
	counts map[*Topology]map[Domain]int32 // for the labels that somebody asked about
}

// On is how many Pods of the group a node has.
func (g *Group) On(n *Node) int32 { return g.nodes[n] }

// Size is how many Pods the group has.
func (g *Group) Size() int { return g.pods }

func groupKey(pod *corev1.Pod, w Workload) string {
	var b strings.Builder
	b.WriteString(string(w))
	b.WriteByte(0)
	for _, k := range slices.Sorted(maps.Keys(pod.Labels)) {
		b.WriteString(k)
		b.WriteByte(0)
		b.WriteString(pod.Labels[k])
		b.WriteByte(0)
	}
	if pod.DeletionTimestamp != nil {
		b.WriteByte(2)
	}
	return b.String()
}

// enter takes a Pod into its group.
func (s *Snapshot) enter(p *Pod, n *Node) {
	ns := p.Object.Namespace
	g := s.groups[ns][p.key]
	if g == nil {
		g = &Group{
			Namespace: ns, Labels: p.Object.Labels, Workload: p.Workload, Terminating: p.Object.DeletionTimestamp != nil, key: p.key, nodes: map[*Node]int32{},
		}
		if s.groups[ns] == nil {
			s.groups[ns] = map[string]*Group{}
		}
		s.groups[ns][p.key] = g
		s.index(g)
	}
	p.group = g
	g.add(n, 1)
	p.Affinity.terms(
		func(t *Term, required bool) { s.repelling.enter(s, t, required, n) },
		func(t *Term, required bool) { s.attracting.enter(s, t, required, n) })
}

// leave takes a Pod out of its group.
func (s *Snapshot) leave(p *Pod, n *Node) {
	g := p.group
	p.group = nil
	p.Affinity.terms(
		func(t *Term, _ bool) { s.repelling.leave(s, t, n) },
		func(t *Term, _ bool) { s.attracting.leave(s, t, n) })
	if g.add(n, -1); g.pods > 0 {
		return
	}
	s.unindex(g)
	delete(s.groups[g.Namespace], g.key)
	if len(s.groups[g.Namespace]) == 0 {
		delete(s.groups, g.Namespace)
	}
}

// GroupsMatching calls f for every group that a term selects.
func (s *Snapshot) GroupsMatching(t *Term, f func(*Group)) {
	visit := func(namespace string) { s.selectPairs(namespace, t.Selector, t.pairs, f) }
	if t.NamespaceSelector == nil {
		for _, ns := range t.Namespaces {
			visit(ns)
		}
		return
	}
	for ns := range s.groups {
		if t.inNamespace(ns, s.namespaces[ns]) {
			visit(ns)
		}
	}
}

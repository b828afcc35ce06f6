package snapshot

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Group is the Pods of one namespace that have the same labels and the same Pod affinity. A selector matches all of a group or none, and the terms of a group
// match a Pod or do not, so both are asked once for each group and not for each Pod; replicas of one workload are one group.
type Group struct {
	Namespace string
	Labels    map[string]string
	// Terminating Pods are groups of their own: their places are about to be free, which some count as free and others do not.
	Terminating bool
	// Affinity is nil for Pods without any.
	Affinity *Affinity

	key    string
	pods   int
	nodes  map[*Node]int32
	counts map[*Topology]map[Domain]int32 // for the labels that somebody asked about
}

// On is how many Pods of the group a node has.
func (g *Group) On(n *Node) int32 { return g.nodes[n] }

// Size is how many Pods the group has.
func (g *Group) Size() int { return g.pods }

func groupKey(pod *corev1.Pod) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(pod.Labels)) {
		b.WriteString(k)
		b.WriteByte(0)
		b.WriteString(pod.Labels[k])
		b.WriteByte(0)
	}
	if a := pod.Spec.Affinity; a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil) {
		b.WriteByte(1)
		// Maps are encoded in the order of their keys, so that equal terms have equal bytes. Encoding into memory does not fail.
		encoded, _ := (&corev1.Affinity{PodAffinity: a.PodAffinity, PodAntiAffinity: a.PodAntiAffinity}).Marshal()
		b.Write(encoded)
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
			Namespace: ns, Labels: p.Object.Labels, Terminating: p.Object.DeletionTimestamp != nil, Affinity: p.Affinity, key: p.key, nodes: map[*Node]int32{},
		}
		if s.groups[ns] == nil {
			s.groups[ns] = map[string]*Group{}
		}
		s.groups[ns][p.key] = g
		if g.Affinity.repels() {
			s.repelling[g] = true
		}
		if g.Affinity.attracts() {
			s.attracting[g] = true
		}
	}
	p.group = g
	g.pods++
	g.nodes[n]++
	for t, c := range g.counts {
		add(c, n.Domain(t), 1)
	}
}

// leave takes a Pod out of its group.
func (s *Snapshot) leave(p *Pod, n *Node) {
	g := p.group
	p.group = nil
	if g.nodes[n]--; g.nodes[n] == 0 {
		delete(g.nodes, n)
	}
	for t, c := range g.counts {
		add(c, n.Domain(t), -1)
	}
	if g.pods--; g.pods > 0 {
		return
	}
	delete(s.repelling, g)
	delete(s.attracting, g)
	delete(s.groups[g.Namespace], g.key)
	if len(s.groups[g.Namespace]) == 0 {
		delete(s.groups, g.Namespace)
	}
}

// Groups calls f for every group of Pods in a namespace.
func (s *Snapshot) Groups(namespace string, f func(*Group)) {
	for _, g := range s.groups[namespace] {
		f(g)
	}
}

// GroupsMatching calls f for every group that a term selects.
func (s *Snapshot) GroupsMatching(t *Term, f func(*Group)) {
	visit := func(namespace string) {
		for _, g := range s.groups[namespace] {
			if t.selects(g.Labels) {
				f(g)
			}
		}
	}
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

// Repelling calls f for every group whose Pods require that others are kept away from them.
func (s *Snapshot) Repelling(f func(*Group)) {
	for g := range s.repelling {
		f(g)
	}
}

// Attracting calls f for every group whose Pods want others near them, or would rather not have them near.
func (s *Snapshot) Attracting(f func(*Group)) {
	for g := range s.attracting {
		f(g)
	}
}

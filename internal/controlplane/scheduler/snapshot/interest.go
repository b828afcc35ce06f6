package snapshot

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Interest is what placed Pods say alike about the Pods near them: one affinity term, and where the Pods are that have it. Thousands of Pods of one
// workload are one Interest, although each has labels of its own (as those of a StatefulSet have), so whether a Pod matches is asked once.
type Interest struct {
	Term     Term
	Required bool // of a term of attraction: it is required, not preferred
	Of       *Group
}

// interests are by what makes terms alike.
type interests map[string]*Interest

// terms calls f for every term of an Affinity that others have to know of: those that repel, and those that attract.
func (a *Affinity) terms(repel, attract func(t *Term, required bool)) {
	if a == nil {
		return
	}
	for i := range a.RequiredAnti {
		repel(&a.RequiredAnti[i], true)
	}
	for i := range a.Required {
		attract(&a.Required[i], true)
	}
	for i := range a.Preferred {
		attract(&a.Preferred[i], false)
	}
}

func (in interests) enter(s *Snapshot, t *Term, required bool, n *Node) {
	i := in[t.alike]
	if i == nil {
		i = &Interest{Term: *t, Required: required, Of: &Group{nodes: map[*Node]int32{}}}
		in[t.alike] = i
		s.apart[i.Of] = true
	}
	i.Of.add(n, 1)
}

func (in interests) leave(s *Snapshot, t *Term, n *Node) {
	i := in[t.alike]
	if i.Of.add(n, -1); i.Of.pods == 0 {
		delete(in, t.alike)
		delete(s.apart, i.Of)
	}
}

// add counts a Pod on a node, times 1 or -1.
func (g *Group) add(n *Node, times int32) {
	g.pods += int(times)
	if g.nodes[n] += times; g.nodes[n] == 0 {
		delete(g.nodes, n)
	}
	for t, c := range g.counts {
		add(c, n.Domain(t), times)
	}
}

// alike writes down what makes two terms the same.
func alike(t *Term, required bool) string {
	var b strings.Builder
	b.WriteString(t.Key)
	b.WriteByte(0)
	b.WriteString(t.Selector.String())
	b.WriteByte(0)
	for _, ns := range slices.Sorted(slices.Values(t.Namespaces)) {
		b.WriteString(ns)
		b.WriteByte(0)
	}
	if t.NamespaceSelector != nil {
		b.WriteByte(1)
		b.WriteString(t.NamespaceSelector.String())
	}
	b.WriteByte(0)
	if required {
		b.WriteByte('r')
	}
	b.WriteRune(rune(t.Weight + 1000)) // weights are between -100 and 100
	return b.String()
}

// Repelling calls f for everything that placed Pods require to be kept away from them.
func (s *Snapshot) Repelling(f func(*Interest)) {
	for _, i := range s.repelling {
		f(i)
	}
}

// Attracting calls f for everything that placed Pods want near them, or would rather not have near.
func (s *Snapshot) Attracting(f func(*Interest)) {
	for _, i := range s.attracting {
		f(i)
	}
}

// pair is a label with its value.
type pair struct{ key, value string }

// pairsOf are the labels that a selector asks for literally.
func pairsOf(s labels.Selector) []pair {
	requirements, _ := s.Requirements()
	var out []pair
	for i := range requirements {
		if values := requirements[i].ValuesUnsorted(); len(values) == 1 && positive(&requirements[i]) {
			out = append(out, pair{requirements[i].Key(), values[0]})
		}
	}
	return out
}

func positive(r *labels.Requirement) bool {
	switch r.Operator() {
	case selection.In, selection.Equals, selection.DoubleEquals:
		return true
	}
	return false
}

// Select calls f for every group of a namespace whose labels a selector matches. Where the selector asks for labels literally, only the groups that have
// the rarest of them are looked at.
func (s *Snapshot) Select(namespace string, selector labels.Selector, f func(*Group)) {
	s.selectPairs(namespace, selector, pairsOf(selector), f)
}

func (s *Snapshot) selectPairs(namespace string, selector labels.Selector, pairs []pair, f func(*Group)) {
	if len(pairs) == 0 {
		for _, g := range s.groups[namespace] {
			if selector.Matches(labels.Set(g.Labels)) {
				f(g)
			}
		}
		return
	}
	index := s.labelled[namespace]
	rarest := index[pairs[0]]
	for _, p := range pairs[1:] {
		if len(index[p]) < len(rarest) {
			rarest = index[p]
		}
	}
	for g := range rarest {
		if selector.Matches(labels.Set(g.Labels)) {
			f(g)
		}
	}
}

// Replicas calls f for every group of a workload.
func (s *Snapshot) Replicas(namespace string, w Workload, f func(*Group)) {
	for g := range s.labelled[namespace][workloadPair(w)] {
		f(g)
	}
}

// workloadPair stands for a workload in the index of labels. No label's key is empty.
func workloadPair(w Workload) pair { return pair{value: string(w)} }

// pairs calls f for everything that a group is found by.
func (g *Group) pairs(f func(pair)) {
	for k, v := range g.Labels {
		f(pair{k, v})
	}
	if g.Workload != "" {
		f(workloadPair(g.Workload))
	}
}

// index takes a group into the index of labels; unindex takes it out.
func (s *Snapshot) index(g *Group) {
	if s.labelled[g.Namespace] == nil {
		s.labelled[g.Namespace] = map[pair]map[*Group]bool{}
	}
	at := s.labelled[g.Namespace]
	g.pairs(func(p pair) {
		if at[p] == nil {
			at[p] = map[*Group]bool{}
		}
		at[p][g] = true
	})
}

func (s *Snapshot) unindex(g *Group) {
	at := s.labelled[g.Namespace]
	g.pairs(func(p pair) {
		delete(at[p], g)
		if len(at[p]) == 0 {
			delete(at, p)
		}
	})
	if len(at) == 0 {
		delete(s.labelled, g.Namespace)
	}
}

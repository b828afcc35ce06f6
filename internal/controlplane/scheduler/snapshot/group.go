package snapshot

import (
	"slices"
	"strings"
)

// Group is the Pods of one namespace that have the same labels. A selector matches all of a group or none, so it is asked once for each group, not
// for each Pod; replicas of one workload are one group. Pods that are being deleted are in none: their places are about to be free.
type Group struct {
	Namespace string
	Labels    map[string]string

	pods int
}

// groupKey is empty for a Pod that belongs to no group.
func groupKey(p *Pod) string {
	if p.Object.DeletionTimestamp != nil {
		return ""
	}
	keys := make([]string, 0, len(p.Object.Labels))
	for k := range p.Object.Labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	b.WriteString(p.Object.Namespace)
	for _, k := range keys {
		b.WriteByte(0)
		b.WriteString(k)
		b.WriteByte(0)
		b.WriteString(p.Object.Labels[k])
	}
	return b.String()
}

// group takes a Pod into its group, and returns that; nil for none.
func (s *Snapshot) group(p *Pod) *Group {
	p.group = groupKey(p)
	if p.group == "" {
		return nil
	}
	g := s.groups[p.group]
	if g == nil {
		g = &Group{Namespace: p.Object.Namespace, Labels: p.Object.Labels}
		s.groups[p.group] = g
	}
	g.pods++
	return g
}

// leave takes a Pod out of its group, and returns that; nil for none.
func (s *Snapshot) leave(p *Pod) *Group {
	g := s.groups[p.group]
	if g == nil {
		return nil
	}
	if g.pods--; g.pods == 0 {
		delete(s.groups, p.group)
	}
	return g
}

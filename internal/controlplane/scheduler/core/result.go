package core

import (
	"fmt"
	"sort"
	"strings"
)

// Result is what became of one Pod.
type Result struct {
	Node       string      // the node chosen; "" when there is none
	Feasible   int         // nodes found that could run the Pod
	Looked     int         // nodes looked at
	Rejections []Rejection // why each node was turned away; only when there is no node
	Filters    FilterSet   // the filters that turned nodes away
}

// Rejection is why one node was turned away.
type Rejection struct {
	Node    string
	Filter  string
	Reasons []string
}

// FilterSet is a set of filters, one bit each.
type FilterSet uint32

// Message says why no node was found, in the form that users know: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable."
func (r Result) Message() string {
	if len(r.Rejections) == 0 {
		return "no nodes available to schedule pods"
	}
	counts := map[string]int{}
	for _, j := range r.Rejections {
		for _, reason := range j.Reasons {
			counts[reason]++
		}
	}
	parts := make([]string, 0, len(counts))
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	sort.Strings(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", len(r.Rejections), strings.Join(parts, ", "))
}

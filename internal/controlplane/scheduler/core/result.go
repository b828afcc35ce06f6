package core

import (
	"fmt"
	"sort"
	"strings"
)

// Result is what became of one Pod.
type Result struct {
	Node     string // the node chosen; "" when there is none
	Feasible int    // nodes found that could run the Pod
	Looked   int    // nodes looked at

	// The rest is only set when there is no node.
	Nodes   int            // how many there are
	Reasons map[string]int // on how many nodes each reason was given
	Refused string         // why no node was even looked at
	Gang    string         // before the message: how much of the Pod's gang could be placed
	Filters FilterSet      // the filters that turned the Pod away
}

// FilterSet is a set of a profile's filters, one bit each.
type FilterSet uint32

// Incomplete stands for no filter, but for Pods of the gang that are not there yet. No change of the cluster helps but their coming.
const Incomplete FilterSet = 1 << 31

// Message says why no node was found, in the form that users know: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable."
func (r Result) Message() string { return r.Gang + r.message() }

func (r Result) message() string {
	switch {
	case r.Refused != "":
		return fmt.Sprintf("0/%d nodes are available: %s.", r.Nodes, r.Refused)
	case r.Nodes == 0:
		return "no nodes available to schedule pods"
	}
	parts := make([]string, 0, len(r.Reasons))
	for reason, n := range r.Reasons {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	sort.Strings(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", r.Nodes, strings.Join(parts, ", "))
}

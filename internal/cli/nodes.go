package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// NodesReport is how many nodes there are to run anything.
type NodesReport struct {
	Total int `json:"total"`
	Ready int `json:"ready"`
	// Away are those that are not ready.
	Away []NodeReport `json:"away,omitempty"`
}

// NodeReport is a node that is not ready.
type NodeReport struct {
	Name    string     `json:"name"`
	Message string     `json:"message"`
	Since   *time.Time `json:"since,omitempty"`
}

// AddNodes fills in the nodes.
func (r *Report) AddNodes(nodes []corev1.Node) {
	r.Nodes = &NodesReport{Total: len(nodes)}
	for i := range nodes {
		away := NodeReport{Name: nodes[i].Name, Message: "it has not said how it is yet"}
		for _, c := range nodes[i].Status.Conditions {
			if c.Type != corev1.NodeReady {
				continue
			}
			if away.Message = cmp.Or(c.Message, c.Reason); c.Status == corev1.ConditionTrue {
				away.Message = ""
			} else {
				since := c.LastTransitionTime.Time
				away.Since = &since
			}
		}
		if away.Message == "" {
			r.Nodes.Ready++
		} else {
			r.Nodes.Away = append(r.Nodes.Away, away)
		}
	}
	slices.SortFunc(r.Nodes.Away, func(a, b NodeReport) int { return cmp.Compare(a.Name, b.Name) })
}

// writeNodes says something only when something is wrong.
func writeNodes(p *printer, n *NodesReport, now time.Time) {
	switch {
	case n == nil || n.Total > 0 && len(n.Away) == 0:
		return
	case n.Total == 0:
		p.styled(Yellow, "There are no nodes: nothing can run.")
		p.print(" Let one join with what gitopsd token says.\n\n")
		return
	}
	style := Yellow
	if n.Ready == 0 {
		style = Red
	}
	p.styled(style, fmt.Sprintf("%d of %d nodes are ready", n.Ready, n.Total))
	p.print("\n")
	t := table{indent: "  "}
	for _, a := range n.Away {
		t.add(plain(a.Name), plain(ago(a.Since, now)), plain(oneLine(a.Message, 120)))
	}
	t.write(p)
	p.print("\n")
}

package why

import (
	"fmt"
	"io"
	"strings"
)

// few is how many nodes are written unless all are asked for.
const few = 10

// Write writes the Report for people: what there is to say about the Pod, and then each node. Those that come closest are first; beyond a few of them only
// the number of the others is written, unless all are asked for.
func Write(w io.Writer, r Report, all bool) error {
	var b strings.Builder
	switch r.State {
	case Placed:
		fmt.Fprintf(&b, "Pod %s/%s is on %s.\n", r.Namespace, r.Name, r.Node)
	default:
		fmt.Fprintf(&b, "Pod %s/%s has no node (scheduler %s, priority %d).\n", r.Namespace, r.Name, r.Scheduler, r.Priority)
	}
	if r.Says != "" {
		fmt.Fprintf(&b, "It says: %s\n", r.Says)
	}
	for _, h := range r.Hints {
		fmt.Fprintf(&b, "- %s\n", h)
	}
	if len(r.Nodes) > 0 {
		b.WriteString("\n")
	}
	describe := waiting
	if r.State == Placed {
		describe = placed
		b.WriteString("Were it placed now, with everything else where it is:\n")
	}
	said := together(r, describe)
	for i, s := range said {
		if i == few && !all {
			fmt.Fprintf(&b, "and %d nodes more: --all\n", rest(said[i:]))
			break
		}
		fmt.Fprintf(&b, "%s  %s", s.names(all), s.what)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// same is nodes of which the same is to be said.
type same struct {
	nodes []string
	what  string
}

// together puts nodes together of which the same is to be said, in the order of the first of each.
func together(r Report, describe func(Node, Report) string) []*same {
	var out []*same
	by := map[string]*same{}
	for _, n := range r.Nodes {
		what := describe(n, r)
		// The name itself stands in commands; it does not make two nodes different.
		key := strings.ReplaceAll(what, n.Name, "\x00")
		if s := by[key]; s != nil {
			s.nodes = append(s.nodes, n.Name)
			continue
		}
		by[key] = &same{nodes: []string{n.Name}, what: what}
		out = append(out, by[key])
	}
	return out
}

func (s *same) names(all bool) string {
	if len(s.nodes) <= few || all {
		return strings.Join(s.nodes, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(s.nodes[:few], ", "), len(s.nodes)-few)
}

func rest(said []*same) (n int) {
	for _, s := range said {
		n += len(s.nodes)
	}
	return n
}

// placed writes the points of a node, were the Pod placed now.
func placed(n Node, r Report) string {
	var b strings.Builder
	at := ""
	if n.Name == r.Node {
		at = "  <- here"
	}
	if !n.Fits {
		return fmt.Sprintf("does not fit: %s%s\n", reasons(n), at)
	}
	fmt.Fprintf(&b, "%d points%s\n", n.Points, at)
	for _, s := range n.Scores {
		if s.Points != 0 {
			fmt.Fprintf(&b, "    %4d  %s\n", s.Points, s.Name)
		}
	}
	return b.String()
}

func reasons(n Node) string {
	var out []string
	for _, f := range n.Failures {
		out = append(out, f.Reasons...)
	}
	return strings.Join(out, ", ")
}

// waiting writes why the Pod is not on a node, and what would put it there.
func waiting(n Node, r Report) string {
	if n.Fits {
		return fmt.Sprintf("fits (%d points)\n", n.Points)
	}
	var b strings.Builder
	for i, f := range n.Failures {
		if i > 0 {
			b.WriteString("  ")
		}
		fmt.Fprintf(&b, "%s: %s\n", f.Filter, strings.Join(f.Reasons, ", "))
		for _, line := range f.Remedies {
			fmt.Fprintf(&b, "    - %s\n", line)
		}
	}
	if n.Room == nil {
		return b.String()
	}
	who := strings.Join(n.Room.Pods, ", ")
	if n.Room.AgainstBudgets > 0 {
		who += fmt.Sprintf(" (%d against a PodDisruptionBudget)", n.Room.AgainstBudgets)
	}
	switch {
	case r.NeverPreempts:
		fmt.Fprintf(&b, "    - without %s it would fit\n", who)
	case int64(r.Priority) >= n.Room.Priority:
		fmt.Fprintf(&b, "    - without %s it would fit; its priority lets it take that place\n", who)
	default:
		fmt.Fprintf(&b, "    - without %s it would fit; a priority of %d would let it take that place\n", who, n.Room.Priority)
	}
	return b.String()
}

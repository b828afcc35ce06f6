package plugins_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// TestPlugins asks one plugin at a time about every node of a cluster:
//
//	cluster, namespaces, storage, running    what there is, as in scheduletest
//	filter NAME                              the lines below are Pods: where each passes, and where not, why, and what would help
//	score NAME                               the same with points
//	                                         default=KEY:SKEW gives PodTopologySpread a default constraint, in these and in event
//	event NAME CHANGE [node=N] [claim=C]     whether the Pod below, turned away by the filter, is helped; "Pod" lines: the second one is the event's
func TestPlugins(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s *snapshot.Snapshot
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cluster":
				s = snapshot.New()
				for line := range strings.Lines(d.Input) {
					s.SetNode(scheduletest.Node(t, line))
				}
				return ""
			case "namespaces":
				for line := range strings.Lines(d.Input) {
					name, labels, _ := strings.Cut(strings.TrimSpace(line), " ")
					s.SetNamespace(name, podtest.Labels(labels))
				}
				return ""
			case "storage":
				for line := range strings.Lines(d.Input) {
					scheduletest.SetStorage(t, s, line)
				}
				return ""
			case "running":
				for _, p := range scheduletest.Pods(t, d.Input) {
					s.Place(snapshot.NewPod(p), p.Spec.NodeName)
				}
				return ""
			case "filter":
				return filter(t, s, find(t, d), d.Input)
			case "score":
				return score(t, s, d)
			case "event":
				return event(t, s, d)
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func find(t *testing.T, d *datadriven.TestData) plugins.Filter {
	t.Helper()
	name := d.CmdArgs[0].Key
	if d.HasArg("default") {
		return plugins.TopologySpread{Defaults: constraint(t, d, corev1.DoNotSchedule)}
	}
	for _, f := range plugins.Filters() {
		if f.Name() == name {
			return f
		}
	}
	t.Fatalf("no such filter: %s", name)
	return nil
}

// constraint is the default that a command is given.
func constraint(t *testing.T, d *datadriven.TestData, mode corev1.UnsatisfiableConstraintAction) []corev1.TopologySpreadConstraint {
	t.Helper()
	var word string
	d.ScanArgs(t, "default", &word)
	p := scheduletest.Pod(t, "p spread="+word)
	c := p.Spec.TopologySpreadConstraints[0]
	c.LabelSelector, c.WhenUnsatisfiable = nil, mode
	return []corev1.TopologySpreadConstraint{c}
}

func filter(t *testing.T, s *snapshot.Snapshot, f plugins.Filter, input string) string {
	t.Helper()
	var b strings.Builder
	for _, p := range scheduletest.Pods(t, input) {
		c := f.Prepare(snapshot.NewPod(p), s)
		if c == nil {
			fmt.Fprintf(&b, "%s: does not apply\n", p.Name)
			continue
		}
		var passes []string
		for _, n := range s.Nodes() {
			if c.Passes(n) {
				passes = append(passes, n.Name())
			}
		}
		fmt.Fprintf(&b, "%s: passes %s\n", p.Name, strings.Join(passes, " "))
		for _, n := range s.Nodes() {
			if c.Passes(n) {
				continue
			}
			lasting := ""
			if c.Lasting(n) {
				lasting = " (lasting)"
			}
			fmt.Fprintf(&b, "  %s: %s%s\n", n.Name(), strings.Join(c.Explain(n), ", "), lasting)
			for _, line := range c.Remedies(n) {
				fmt.Fprintf(&b, "    %s\n", line)
			}
		}
	}
	return b.String()
}

func score(t *testing.T, s *snapshot.Snapshot, d *datadriven.TestData) string {
	t.Helper()
	name := d.CmdArgs[0].Key
	scores := map[string]plugins.Score{"MostAllocated": plugins.Allocation{Strategy: plugins.MostAllocated}}
	for _, sc := range plugins.Scores() {
		scores[sc.Name()] = sc.Score
	}
	if d.HasArg("default") {
		scores[name] = plugins.TopologyPreference{Defaults: constraint(t, d, corev1.ScheduleAnyway)}
	}
	var b strings.Builder
	for _, p := range scheduletest.Pods(t, d.Input) {
		rate := scores[name].Prepare(snapshot.NewPod(p), s, s.Nodes())
		if rate == nil {
			fmt.Fprintf(&b, "%s: no preference\n", p.Name)
			continue
		}
		fmt.Fprintf(&b, "%s:", p.Name)
		for _, n := range s.Nodes() {
			points := rate(n)
			if points < 0 || points > plugins.MaxRating {
				t.Errorf("%s rates %s with %d, out of 0 to %d", name, n.Name(), points, plugins.MaxRating)
			}
			fmt.Fprintf(&b, " %s=%d", n.Name(), points)
		}
		b.WriteString("\n")
	}
	return b.String()
}

var changes = map[string]plugins.Change{
	"added": plugins.Added, "labels": plugins.Labels, "taints": plugins.Taints, "allocatable": plugins.Allocatable, "gone": plugins.PodGone,
	"placed": plugins.PodPlaced, "namespaces": plugins.Namespaces, "removed": plugins.Removed, "claims": plugins.Claims, "storage": plugins.Storage,
}

func event(t *testing.T, s *snapshot.Snapshot, d *datadriven.TestData) string {
	t.Helper()
	f := find(t, d)
	e := plugins.Event{Change: changes[d.CmdArgs[1].Key]}
	if e.Change == 0 {
		t.Fatalf("no such change: %s", d.CmdArgs[1].Key)
	}
	if d.HasArg("node") {
		var name string
		d.ScanArgs(t, "node", &name)
		e.Node = s.Node(name)
	}
	if d.HasArg("claim") {
		d.ScanArgs(t, "claim", &e.Claim)
	}
	pods := scheduletest.Pods(t, d.Input)
	if len(pods) > 1 {
		e.Pod = snapshot.NewPod(pods[1])
	}
	switch {
	case f.Concerns()&e.Change == 0:
		return "does not concern it\n"
	case f.Helped(snapshot.NewPod(pods[0]), e):
		return "may help\n"
	}
	return "does not help\n"
}

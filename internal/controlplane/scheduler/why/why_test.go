package why

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
)

// TestWhy plays scripts:
//
//	cluster     the lines below are nodes, as in scheduletest
//	storage     claims, volumes, classes and drivers; budgets: PodDisruptionBudgets
//	pods        Pods that are there, placed or not
//	why         the line below is the Pod in question; all writes every node, json the Report
//	gated, foreign  the same for a Pod with a gate, and one of another scheduler
func TestWhy(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := NewWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cluster":
				w = NewWorld()
				for line := range strings.Lines(d.Input) {
					w.Snapshot.SetNode(scheduletest.Node(t, line))
				}
				return ""
			case "many":
				w = NewWorld()
				for i := range 25 {
					w.Snapshot.SetNode(scheduletest.Node(t, fmt.Sprintf("n%02d %s", i, d.Input)))
				}
				return ""
			case "storage":
				for line := range strings.Lines(d.Input) {
					scheduletest.SetStorage(t, w.Snapshot, line)
				}
				return ""
			case "budgets":
				for line := range strings.Lines(d.Input) {
					w.Snapshot.SetBudget(scheduletest.Budget(t, line))
				}
				return ""
			case "pods":
				for _, p := range scheduletest.Pods(t, d.Input) {
					w.AddPod(p)
				}
				return ""
			case "why", "gated", "foreign":
				p := scheduletest.Pod(t, d.Input)
				switch d.Cmd {
				case "gated":
					p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/quota"}}
				case "foreign":
					p.Spec.SchedulerName = "somebody-elses"
				}
				r := Ask(p, w, profile.Default())
				var b bytes.Buffer
				if d.HasArg("json") {
					e := json.NewEncoder(&b)
					e.SetIndent("", " ")
					if err := e.Encode(r); err != nil {
						t.Fatal(err)
					}
				} else if err := Write(&b, r, d.HasArg("all")); err != nil {
					t.Fatal(err)
				}
				return b.String()
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func TestEveryChangeThatAFilterHearsOfHasItsWords(t *testing.T) {
	var said plugins.Change
	for _, c := range changes {
		said |= c.is
	}
	for _, f := range plugins.Filters() {
		if silent := f.Concerns() &^ said; silent != 0 {
			t.Errorf("nothing is said of the change %s, which concerns the filter %s", silent, f.Name())
		}
	}
}

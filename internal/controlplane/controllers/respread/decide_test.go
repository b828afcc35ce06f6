package respread

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
)

// TestDecide plays scripts:
//
//	cluster      the lines below are nodes, as in scheduletest; after "|" since when each is usable, nothing if it is not
//	decide       the lines below are Pods, as in scheduletest; one that has "asks" as its last word opted in. It got its place when it was created.
//	             moving=(W,…) are workloads of which a Pod is on the move
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var nodes []*corev1.Node
		usable := map[string]time.Time{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cluster":
				nodes = nil
				clear(usable)
				for line := range strings.Lines(d.Input) {
					line, since, _ := strings.Cut(line, "|")
					n := scheduletest.Node(t, line)
					nodes = append(nodes, n)
					if since = strings.TrimSpace(since); since != "" {
						ago, err := time.ParseDuration(since)
						if err != nil {
							t.Fatal(err)
						}
						usable[n.Name] = podtest.Now.Add(-ago)
					}
				}
				return ""
			case "decide":
				o := Observed{Usable: usable, Moving: map[snapshot.Workload]int{}, Config: profile.Default(), Pace: DefaultPace, Now: podtest.Now}
				for _, a := range d.CmdArgs {
					for _, w := range a.Vals {
						o.Moving[snapshot.Workload(w)] = 1
					}
				}
				w := why.NewWorld()
				for _, n := range nodes {
					w.Snapshot.SetNode(n)
				}
				for line := range strings.Lines(d.Input) {
					line, asks := strings.CutSuffix(strings.TrimSpace(line), " asks")
					p := scheduletest.Pod(t, line)
					if p.Spec.NodeName != "" {
						p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
							Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: p.CreationTimestamp,
						})
					}
					if asks {
						metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.AnnotationSpreadAgain, "true")
					}
					if Asks(p) {
						o.Pods = append(o.Pods, p)
					}
					w.AddPod(p)
				}
				o.Snapshot = func() *snapshot.Snapshot { return w.Snapshot }
				return printed(Decide(o))
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func printed(a Actions) string {
	var b strings.Builder
	for _, m := range a.Evict {
		fmt.Fprintf(&b, "evict %s, for %s\n", m.Pod.Name, m.To)
	}
	if a.Recheck > 0 {
		fmt.Fprintf(&b, "look again in %v\n", a.Recheck)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

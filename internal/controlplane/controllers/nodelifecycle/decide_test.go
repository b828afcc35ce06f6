package nodelifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// TestDecide reads a Node from the arguments of "decide" and its Pods from the lines below:
//
//	ready=True|False|Unknown  what its status says; left out: nothing yet
//	silent=D                  how long ago its last sign of life was; 0 by default
//	taint=(K:E[:D],…)         taints, added D ago
//	cordoned                  spec.unschedulable
//	pressure                  MemoryPressure=True
//	total                     no Node at all is ready
//	await                     it is not this Node's turn to lose its Pods
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata/decide", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "decide" {
				t.Fatalf("no such command: %s", d.Cmd)
			}
			return printed(Decide(observed(t, d)))
		})
	})
}

func observed(t *testing.T, d *datadriven.TestData) Observed {
	o := Observed{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, Pods: podtest.Lines(t, d.Input),
		Heartbeat: podtest.Now, Turn: true, Grace: 40 * time.Second, Now: podtest.Now,
	}
	duration := func(s string) time.Duration {
		v, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "ready":
			others := corev1.ConditionFalse
			if a.Vals[0] == "Unknown" {
				others = corev1.ConditionUnknown
			}
			for _, c := range reported {
				o.Node.Status.Conditions = append(o.Node.Status.Conditions, corev1.NodeCondition{Type: c, Status: others})
			}
			find(o.Node.Status.Conditions, corev1.NodeReady).Status = corev1.ConditionStatus(a.Vals[0])
		case "pressure":
			find(o.Node.Status.Conditions, corev1.NodeMemoryPressure).Status = corev1.ConditionTrue
		case "silent":
			o.Heartbeat = podtest.Now.Add(-duration(a.Vals[0]))
		case "taint":
			for _, v := range a.Vals {
				parts := strings.Split(v, ":")
				taint := corev1.Taint{Key: parts[0], Effect: corev1.TaintEffect(parts[1])}
				if len(parts) > 2 {
					taint.TimeAdded = &metav1.Time{Time: podtest.Now.Add(-duration(parts[2]))}
				}
				o.Node.Spec.Taints = append(o.Node.Spec.Taints, taint)
			}
		case "seen":
			o.TaintSeen = map[string]time.Time{"example.com/drain": podtest.Now.Add(-duration(a.Vals[0]))}
		case "cordoned":
			o.Node.Spec.Unschedulable = true
		case "total":
			o.Total = true
		case "await":
			o.Turn = false
		default:
			t.Fatalf("no such argument: %s", a.Key)
		}
	}
	return o
}

func printed(a Actions) string {
	var b strings.Builder
	for _, c := range a.Conditions {
		fmt.Fprintf(&b, "condition %s=%s %s\n", c.Type, c.Status, c.Reason)
	}
	if a.WriteTaints {
		b.WriteString("taints:")
		for _, t := range a.Taints {
			fmt.Fprintf(&b, " %s:%s", strings.TrimPrefix(t.Key, "node.kubernetes.io/"), t.Effect)
		}
		b.WriteString("\n")
	}
	for _, p := range a.NotReady {
		fmt.Fprintf(&b, "mark not ready: %s\n", p.Name)
	}
	for _, p := range a.Evict {
		fmt.Fprintf(&b, "evict: %s\n", p.Name)
	}
	if a.AwaitsTurn {
		b.WriteString("awaits its turn\n")
	}
	if a.Recheck > 0 {
		fmt.Fprintf(&b, "look again in %v\n", a.Recheck)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

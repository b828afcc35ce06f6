package podgc

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// TestDecide reads a Pod from the line below "decide" and its Node from the arguments: ready=True|False|Unknown, out-of-service, or missing=D
// for one that has not been there for D.
func TestDecide(t *testing.T) {
	datadriven.RunTest(t, "testdata/decide.txt", func(t *testing.T, d *datadriven.TestData) string {
		o := Observed{Pod: podtest.Line(t, d.Input)}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "ready":
				node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionStatus(a.Vals[0])}}
				o.Node = node
			case "out-of-service":
				node.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
			case "missing":
				var err error
				if o.Missing, err = time.ParseDuration(a.Vals[0]); err != nil {
					t.Fatal(err)
				}
			}
		}
		switch v := Decide(o); {
		case v.Delete && v.Confirm:
			return "delete, once it is sure: " + v.Reason + "\n"
		case v.Delete:
			return "delete: " + v.Reason + "\n"
		case v.Recheck > 0:
			return fmt.Sprintf("look again in %v\n", v.Recheck)
		}
		return "nothing\n"
	})
}

func TestTheOldestFinishedPodsGoBeyondTheNumberKept(t *testing.T) {
	f := newFinished()
	for _, p := range podtest.Lines(t, "c age=1h\na age=3h\nb age=2h\nd age=30m") {
		f.add(p)
	}
	f.remove("uid-b")
	var got []string
	for _, p := range f.excess(1) {
		got = append(got, p.Name)
	}
	if want := []string{"a", "c"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("beyond one, %v go, want %v", got, want)
	}
}

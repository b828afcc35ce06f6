package poddisruptionbudget

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// TestDecide reads a budget from the arguments: min= or max=, scale= of the owners, unmanaged=, disrupted=(POD:AGO,…), of=AGE with a report of that many
// Pods expected; and the Pods from the lines below.
func TestDecide(t *testing.T) {
	datadriven.RunTest(t, "testdata/decide.txt", func(t *testing.T, d *datadriven.TestData) string {
		o := Observed{
			PDB: &policyv1.PodDisruptionBudget{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Generation: 1},
				Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
			},
			Pods: podtest.Lines(t, d.Input), Now: podtest.Now,
		}
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "min":
				v := intstr.Parse(a.Vals[0])
				o.PDB.Spec.MinAvailable = &v
			case "max":
				v := intstr.Parse(a.Vals[0])
				o.PDB.Spec.MaxUnavailable = &v
			case "scale":
				a.Scan(t, 0, &o.Scale)
			case "unmanaged":
				o.Unmanaged = a.Vals
			case "disrupted":
				o.PDB.Status.DisruptedPods = map[string]metav1.Time{}
				for _, v := range a.Vals {
					name, ago, _ := strings.Cut(v, ":")
					age, err := time.ParseDuration(ago)
					if err != nil {
						t.Fatal(err)
					}
					o.PDB.Status.DisruptedPods[name] = metav1.NewTime(podtest.Now.Add(-age))
				}
			default:
				t.Fatalf("no such argument: %s", a.Key)
			}
		}
		v, err := Decide(o)
		if err != nil {
			v = Failed(o, err)
		}
		return show(v)
	})
}

func show(v Verdict) string {
	var b strings.Builder
	s := v.Status
	fmt.Fprintf(&b, "%d of %d healthy, %d needed: %d may go\n", s.CurrentHealthy, s.ExpectedPods, s.DesiredHealthy, s.DisruptionsAllowed)
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%s=%s %s %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, name := range slices.Sorted(maps.Keys(s.DisruptedPods)) {
		fmt.Fprintf(&b, "going: %s\n", name)
	}
	for _, e := range v.Events {
		fmt.Fprintf(&b, "%s %s %s: %s\n", e.Type, e.Reason, e.Pod, e.Message)
	}
	if v.Recheck > 0 {
		fmt.Fprintf(&b, "look again in %v\n", v.Recheck)
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func TestAnAnnouncedDisruptionIsTakenBackWhenNobodyDeletesThePod(t *testing.T) {
	pod := func(line, reason string, age time.Duration) *corev1.Pod {
		p := podtest.Line(t, line)
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(podtest.Now.Add(-age)),
		})
		return p
	}
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		left time.Duration
		ok   bool
	}{
		{"just announced", pod("a node=n", "EvictionByEvictionAPI", 30*time.Second), 90 * time.Second, true},
		{"long ago", pod("a node=n", "PreemptionByScheduler", time.Hour), 0, true},
		{"by the node itself", pod("a node=n", corev1.PodReasonTerminationByKubelet, time.Hour), 0, false},
		{"being deleted", pod("a node=n terminating", "EvictionByEvictionAPI", time.Hour), 0, false},
		{"ended", pod("a phase=Failed", "EvictionByEvictionAPI", time.Hour), 0, false},
		{"never announced", podtest.Line(t, "a node=n"), 0, false},
	} {
		if left, ok := stale(c.pod, podtest.Now); left != c.left || ok != c.ok {
			t.Errorf("%s: got %v, %v, want %v, %v (%v)", c.name, left, ok, c.left, c.ok, podstate.Condition(c.pod, corev1.DisruptionTarget))
		}
	}
}

package namespace

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestDecide reads what one pass found from the arguments of "decide": remaining=(RESOURCE:N,…), held=(FINALIZER:N,…), unknown=GROUP, failed=TEXT, pods-first.
func TestDecide(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	datadriven.RunTest(t, "testdata/decide.txt", func(t *testing.T, d *datadriven.TestData) string {
		f := Found{Remaining: map[schema.GroupResource]int{}, Held: map[string]int{}, Unknown: map[string]error{}}
		count := func(v string) (string, int) {
			name, n, _ := strings.Cut(v, ":")
			var c int
			if _, err := fmt.Sscan(n, &c); err != nil {
				t.Fatal(err)
			}
			return name, c
		}
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "remaining":
				for _, v := range a.Vals {
					name, n := count(v)
					f.Remaining[schema.ParseGroupResource(name)] = n
				}
			case "held":
				for _, v := range a.Vals {
					name, n := count(v)
					f.Held[name] = n
				}
			case "unknown":
				f.Unknown[a.Vals[0]] = errors.New("the server does not answer")
			case "failed":
				f.Failed = append(f.Failed, errors.New(a.Vals[0]+": deleting: forbidden"))
			case "pods-first":
				f.PodsFirst = true
			}
		}
		a := Decide(&corev1.Namespace{}, f, now)
		if a.Finalize {
			return "let it go\n"
		}
		var b strings.Builder
		for _, c := range a.Conditions {
			fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
		}
		return b.String()
	})
}

func TestAConditionKeepsItsTimeWhileItsStatusStays(t *testing.T) {
	first := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	f := Found{Remaining: map[schema.GroupResource]int{pods: 2}}
	ns := &corev1.Namespace{}
	ns.Status.Conditions = Decide(ns, f, first).Conditions
	f.Remaining[pods] = 1
	for _, c := range Decide(ns, f, first.Add(time.Minute)).Conditions {
		if !c.LastTransitionTime.Time.Equal(first) {
			t.Errorf("%s: last transition %v, want %v", c.Type, c.LastTransitionTime, first)
		}
	}
}

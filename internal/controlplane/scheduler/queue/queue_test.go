package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// TestQueue plays scripts:
//
//	add             the lines below are Pods, as in podtest; generation=N as an argument marks a changed spec; gang=N timeout=D make them a gang of 3
//	remove          Pods by name
//	pop             takes the next one out
//	park by=N       puts the one just popped back: it fits nowhere because of the filters N
//	hold            puts the one just popped back: its gang is not there yet
//	gang N          takes the waiting members of a gang out
//	retry           puts the one just popped back: its binding failed
//	event helps=N   something that helps Pods turned away by a filter in N
//	activate        Pods by name that are to be looked at again
//	pass D          time passes
func TestQueue(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		q := New(DefaultBackoff)
		now := podtest.Now
		var popped *Entry
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var n int
			switch d.Cmd {
			case "new":
				q, now = New(DefaultBackoff), podtest.Now
			case "add":
				for _, p := range podtest.Lines(t, d.Input) {
					if d.HasArg("generation") {
						d.ScanArgs(t, "generation", &n)
						p.Generation = int64(n)
					}
					if d.HasArg("gang") {
						p.Annotations = map[string]string{v1alpha1.AnnotationGangMinimum: "3", v1alpha1.AnnotationGangName: d.CmdArgs[0].Vals[0]}
					}
					if d.HasArg("timeout") {
						p.Annotations[v1alpha1.AnnotationGangTimeout] = d.CmdArgs[1].Vals[0]
					}
					q.Add(snapshot.NewPod(p), now)
				}
			case "remove":
				for _, name := range strings.Fields(d.Input) {
					q.Remove(types.UID("uid-" + name))
				}
			case "pop":
				e, next := q.Pop(now)
				switch {
				case e != nil:
					popped = e
					return e.Pod.Object.Name + "\n"
				case next.IsZero():
					return "none\n"
				}
				return fmt.Sprintf("none for %v\n", next.Sub(now))
			case "park":
				d.ScanArgs(t, "by", &n)
				q.Park(popped, core.FilterSet(n), now)
			case "hold":
				q.Hold(popped, now)
			case "gang":
				var names []string
				for _, e := range q.TakeGang("default/" + d.CmdArgs[0].Key) {
					names = append(names, e.Pod.Object.Name)
					popped = e
				}
				return strings.Join(names, " ") + "\n"
			case "retry":
				q.Retry(popped, now)
			case "event":
				d.ScanArgs(t, "helps", &n)
				concerned := 0
				q.Wake("event", func(w Why) bool { return w.Filters&core.FilterSet(n) != 0 }, func(*Entry) bool { concerned++; return true }, now)
				return fmt.Sprintf("helped %d\n", concerned)
			case "activate":
				for _, name := range strings.Fields(d.Input) {
					q.Activate(types.UID("uid-"+name), now)
				}
			case "pass":
				by, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				now = now.Add(by)
			default:
				t.Fatalf("no such command: %s", d.Cmd)
			}
			return ""
		})
	})
}

func TestBackoffDoublesUpToALimit(t *testing.T) {
	var got []time.Duration
	for n := range 9 {
		got = append(got, DefaultBackoff.after(n+1))
	}
	if got[0] != DefaultBackoff.First || got[1] != 2*DefaultBackoff.First || got[8] != DefaultBackoff.Last {
		t.Errorf("back-offs are %v", got)
	}
}

func TestAPodThatWasTurnedAwayByASchedulerBeforeHasWaitedSinceThen(t *testing.T) {
	now := time.Unix(10_000, 0)
	for _, c := range []struct {
		reason string
		ago    time.Duration
		want   time.Duration
	}{
		{corev1.PodReasonUnschedulable, time.Hour, time.Hour},
		{corev1.PodReasonSchedulingGated, time.Hour, 0},
		{corev1.PodReasonUnschedulable, -time.Hour, 0}, // another clock
		{"", 0, 0},
	} {
		p := scheduletest.Pod(t, "p")
		if c.reason != "" {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: c.reason, LastTransitionTime: metav1.NewTime(now.Add(-c.ago))}}
		}
		q := New(DefaultBackoff)
		q.Add(snapshot.NewPod(p), now)
		if e, _ := q.Pop(now); now.Sub(e.Since) != c.want {
			t.Errorf("%+v: it has waited for %v", c, now.Sub(e.Since))
		}
	}
}

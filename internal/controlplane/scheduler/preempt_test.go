package scheduler_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

func classes(t testing.TB, e *controllerstest.Env) {
	t.Helper()
	for name, value := range map[string]int32{"low": 1, "mid": 5, "high": 10} {
		if _, err := e.Client.SchedulingV1().PriorityClasses().Create(e.Ctx, &schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value,
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		known(t, e, name)
	}
}

// known waits until the API server's admission has heard of a class.
func known(t testing.TB, e *controllerstest.Env, name string) {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}, Spec: corev1.PodSpec{
		PriorityClassName: name, Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
	}}
	controllerstest.Eventually(t, "Pods of class "+name+" are admitted", func() bool {
		_, err := e.Client.CoreV1().Pods("default").Create(e.Ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil
	})
}

// class also gives the Pod time to end, so that it does not vanish at once.
func class(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.PriorityClassName = name
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
	}
}

func deleteNow(t testing.TB, e *controllerstest.Env, name string) {
	t.Helper()
	if err := e.Client.CoreV1().Pods("default").Delete(e.Ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
}

func TestAPodOfHigherPriorityTakesTheRoomOfALowerOneThatEndsInItsOwnTime(t *testing.T) {
	e := controllerstest.New(t)
	classes(t, e)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "n1", "1", "1Gi")
	e.Node(t, "n2", "1", "1Gi")
	create(t, e, "low", "1", class("low"))
	create(t, e, "mid", "1", class("mid"))
	controllerstest.Eventually(t, "both are bound", func() bool {
		return get(t, e, "low").Spec.NodeName != "" && get(t, e, "mid").Spec.NodeName != ""
	})
	where := get(t, e, "low").Spec.NodeName
	create(t, e, "high", "1", class("high"))
	controllerstest.Eventually(t, "the lowest is being deleted", func() bool { return get(t, e, "low").DeletionTimestamp != nil })
	low := get(t, e, "low")
	if g := ptr.Deref(low.DeletionGracePeriodSeconds, 0); g != 30 {
		t.Errorf("the victim has %d s to end, want its own 30", g)
	}
	c := podstate.Condition(low, corev1.DisruptionTarget)
	if c == nil || c.Status != corev1.ConditionTrue || c.Reason != "PreemptionByScheduler" {
		t.Errorf("the victim's condition DisruptionTarget is %+v", c)
	}
	controllerstest.Eventually(t, "the Pod that waits is promised that node", func() bool { return get(t, e, "high").Status.NominatedNodeName == where })
	controllerstest.Eventually(t, "an Event on the victim says so", func() bool {
		events, err := e.Client.CoreV1().Events("default").List(e.Ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=low,reason=Preempted"})
		if err != nil {
			t.Fatal(err)
		}
		return len(events.Items) == 1 && strings.Contains(events.Items[0].Message, "on node "+where)
	})
	// Pods that come and go make it look again, and it finds that room is being made already.
	create(t, e, "other", "1", class("mid"))
	controllerstest.Eventually(t, "the other waits", func() bool { return says(get(t, e, "other")) != "" })
	deleteNow(t, e, "other")
	if get(t, e, "mid").DeletionTimestamp != nil {
		t.Error("a second Pod was taken away for the same one")
	}
	deleteNow(t, e, "low")
	controllerstest.Eventually(t, "the Pod is bound", func() bool { return get(t, e, "high").Spec.NodeName == where })
	if promised := get(t, e, "high").Status.NominatedNodeName; promised != "" {
		t.Errorf("the Pod that is bound is promised %s still", promised)
	}
}

func TestAPodOfStillHigherPriorityGetsRoomThatIsBeingMadeForAnother(t *testing.T) {
	e := controllerstest.New(t)
	classes(t, e)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "only", "1", "1Gi")
	create(t, e, "low", "1", class("low"))
	controllerstest.Eventually(t, "it is bound", func() bool { return get(t, e, "low").Spec.NodeName != "" })
	create(t, e, "mid", "1", class("mid"))
	controllerstest.Eventually(t, "room is promised", func() bool { return get(t, e, "mid").Status.NominatedNodeName == "only" })
	create(t, e, "high", "1", class("high"))
	controllerstest.Eventually(t, "room is promised to the higher", func() bool { return get(t, e, "high").Status.NominatedNodeName == "only" })
	controllerstest.Eventually(t, "and no longer to the lower", func() bool { return get(t, e, "mid").Status.NominatedNodeName == "" })
	deleteNow(t, e, "low")
	controllerstest.Eventually(t, "the higher is bound", func() bool { return get(t, e, "high").Spec.NodeName == "only" })
	if n := get(t, e, "mid").Spec.NodeName; n != "" {
		t.Errorf("the lower is bound to %s too", n)
	}
}

func TestAPodThatMustNotPreemptWaits(t *testing.T) {
	e := controllerstest.New(t)
	classes(t, e)
	if _, err := e.Client.SchedulingV1().PriorityClasses().Create(e.Ctx, &schedulingv1.PriorityClass{
		ObjectMeta: metav1.ObjectMeta{Name: "polite"}, Value: 100, PreemptionPolicy: ptr.To(corev1.PreemptNever),
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	known(t, e, "polite")
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "only", "1", "1Gi")
	create(t, e, "low", "1", class("low"))
	controllerstest.Eventually(t, "it is bound", func() bool { return get(t, e, "low").Spec.NodeName != "" })
	create(t, e, "polite", "1", class("polite"))
	controllerstest.Eventually(t, "the Pod waits", func() bool { return says(get(t, e, "polite")) != "" })
	if get(t, e, "low").DeletionTimestamp != nil {
		t.Error("a Pod was taken away for one with preemptionPolicy Never")
	}
}

package scheduler_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

func create(t testing.TB, e *controllerstest.Env, name, cpu string, change ...func(*corev1.Pod)) {
	t.Helper()
	if err := tryCreate(e, name, cpu, change...); err != nil {
		t.Fatal(err)
	}
}

func tryCreate(e *controllerstest.Env, name, cpu string, change ...func(*corev1.Pod)) error {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
			}}},
			TerminationGracePeriodSeconds: ptr.To[int64](0),
		},
	}
	for _, c := range change {
		c(p)
	}
	_, err := e.Client.CoreV1().Pods("default").Create(e.Ctx, p, metav1.CreateOptions{})
	return err
}

func get(t testing.TB, e *controllerstest.Env, name string) *corev1.Pod {
	t.Helper()
	p, err := e.Client.CoreV1().Pods("default").Get(e.Ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func says(p *corev1.Pod) string {
	c := podstate.Condition(p, corev1.PodScheduled)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

func TestAPodThatFitsNowhereSaysWhyAndIsBoundWhenANodeComes(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "small", "1", "1Gi")
	create(t, e, "web", "2")
	want := "False Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."
	controllerstest.Eventually(t, "the Pod says why it waits", func() bool { return says(get(t, e, "web")) == want })
	controllerstest.Eventually(t, "an Event says so too", func() bool {
		events, err := e.Client.CoreV1().Events("default").List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events.Items {
			if ev.Reason == "FailedScheduling" && ev.InvolvedObject.Name == "web" {
				return true
			}
		}
		return false
	})
	e.Node(t, "large", "4", "4Gi")
	controllerstest.Eventually(t, "the Pod is bound", func() bool { return get(t, e, "web").Spec.NodeName == "large" })
}

func TestRoomThatAPodLeavesIsUsedByTheOneThatWaits(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "only", "1", "1Gi")
	create(t, e, "first", "800m")
	controllerstest.Eventually(t, "the first is bound", func() bool { return get(t, e, "first").Spec.NodeName != "" })
	create(t, e, "second", "800m")
	controllerstest.Eventually(t, "the second waits", func() bool { return says(get(t, e, "second")) != "" })
	if err := e.Client.CoreV1().Pods("default").Delete(e.Ctx, "first", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the second is bound", func() bool { return get(t, e, "second").Spec.NodeName == "only" })
}

func TestAGatedPodIsLeftAloneUntilItsGatesAreGone(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "n1", "4", "4Gi")
	create(t, e, "gated", "100m", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/quota"}} })
	create(t, e, "other", "100m", func(p *corev1.Pod) { p.Spec.SchedulerName = "somebody-elses" })
	create(t, e, "free", "100m")
	controllerstest.Eventually(t, "the Pod without gates is bound", func() bool { return get(t, e, "free").Spec.NodeName != "" })
	want := "False SchedulingGated: Scheduling is blocked due to non-empty scheduling gates"
	controllerstest.Eventually(t, "the gated Pod says so", func() bool { return says(get(t, e, "gated")) == want })
	if p := get(t, e, "other"); p.Spec.NodeName != "" {
		t.Errorf("a Pod of another scheduler is bound to %s", p.Spec.NodeName)
	}
	p := get(t, e, "gated")
	p.Spec.SchedulingGates = nil
	if _, err := e.Client.CoreV1().Pods("default").Update(e.Ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the Pod is bound", func() bool { return get(t, e, "gated").Spec.NodeName != "" })
}

func TestABurstOfPodsFillsTheNodesExactly(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	const nodes, perNode = 4, 10
	for i := range nodes {
		e.Node(t, fmt.Sprintf("n%d", i), "1", "4Gi")
	}
	began := time.Now()
	var creates errgroup.Group
	for i := range nodes*perNode + 1 {
		creates.Go(func() error { return tryCreate(e, fmt.Sprintf("p%d", i), "100m") })
	}
	if err := creates.Wait(); err != nil {
		t.Fatal(err)
	}
	count := func() (bound map[string]int, waiting int) {
		pods, err := e.Client.CoreV1().Pods("default").List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		bound = map[string]int{}
		for _, p := range pods.Items {
			if p.Spec.NodeName != "" {
				bound[p.Spec.NodeName]++
			} else if says(&p) != "" {
				waiting++
			}
		}
		return bound, waiting
	}
	controllerstest.Eventually(t, "all but one are bound", func() bool {
		bound, waiting := count()
		for _, n := range bound {
			if n > perNode {
				t.Fatalf("a node is overfull: %v", bound)
			}
		}
		return len(bound) == nodes && waiting == 1
	})
	t.Logf("%d Pods created and bound in %v", nodes*perNode, time.Since(began))
}

package scheduler_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

func ofGang(name string, minimum int, more ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels = map[string]string{"gang": name}
		p.Annotations = map[string]string{v1alpha1.AnnotationGangName: name, v1alpha1.AnnotationGangMinimum: fmt.Sprint(minimum)}
		for i := 0; i+1 < len(more); i += 2 {
			p.Annotations[more[i]] = more[i+1]
		}
	}
}

// members counts the Pods of a gang that are bound, and those that say why they wait.
func members(t testing.TB, e *controllerstest.Env, name string) (bound, waiting int) {
	t.Helper()
	pods, err := e.Client.CoreV1().Pods("default").List(e.Ctx, metav1.ListOptions{LabelSelector: "gang=" + name})
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		switch {
		case pods.Items[i].Spec.NodeName != "":
			bound++
		case says(&pods.Items[i]) != "":
			waiting++
		}
	}
	return bound, waiting
}

func TestAGangIsPlacedOnceItIsThereAndFitsAsAWhole(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "n1", "2", "1Gi")
	create(t, e, "a", "1", ofGang("train", 3))
	create(t, e, "b", "1", ofGang("train", 3))
	controllerstest.Eventually(t, "two of three wait for the third", func() bool {
		return strings.Contains(says(get(t, e, "b")), "3 Pods have to be placed together, and not all of them are there yet")
	})
	create(t, e, "c", "1", ofGang("train", 3))
	controllerstest.Eventually(t, "the three wait for room", func() bool {
		return strings.Contains(says(get(t, e, "a")), "2 of the 3 Pods that have to be placed together can be")
	})
	if bound, _ := members(t, e, "train"); bound != 0 {
		t.Errorf("%d members hold a place while they wait", bound)
	}
	e.Node(t, "n2", "1", "1Gi")
	controllerstest.Eventually(t, "all are bound", func() bool { bound, _ := members(t, e, "train"); return bound == 3 })
}

func TestTwoGangsThatDoNotBothFitAreNeverHalfPlaced(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "n1", "2", "1Gi")
	e.Node(t, "n2", "2", "1Gi")
	for i := range 3 {
		for _, g := range []string{"red", "blue"} {
			create(t, e, fmt.Sprint(g, i), "1", ofGang(g, 3))
		}
	}
	first, second := "", ""
	controllerstest.Eventually(t, "one is placed and the other waits", func() bool {
		red, redWaits := members(t, e, "red")
		blue, blueWaits := members(t, e, "blue")
		first, second = "red", "blue"
		if blue > 0 {
			first, second = "blue", "red"
		}
		if red > 0 && blue > 0 {
			t.Fatalf("%d of red and %d of blue are placed", red, blue)
		}
		return red+blue == 3 && redWaits+blueWaits == 3
	})
	for i := range 3 {
		deleteNow(t, e, fmt.Sprint(first, i))
	}
	controllerstest.Eventually(t, "the other is placed", func() bool { bound, _ := members(t, e, second); return bound == 3 })
}

func TestAfterItsTimeoutAGangIsPlacedAsFarAsItFits(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "n1", "2", "1Gi")
	create(t, e, "alone", "1", ofGang("train", 3, v1alpha1.AnnotationGangTimeout, "200ms"))
	create(t, e, "wrong", "1", ofGang("other", 3, v1alpha1.AnnotationGangTimeout, "soon"))
	controllerstest.Eventually(t, "the one that is there is bound", func() bool { return get(t, e, "alone").Spec.NodeName == "n1" })
	for i := range 3 {
		create(t, e, fmt.Sprint("large", i), "600m", ofGang("large", 3, v1alpha1.AnnotationGangTimeout, "200ms"))
	}
	controllerstest.Eventually(t, "of those that do not all fit, one is bound", func() bool {
		bound, waiting := members(t, e, "large")
		return bound == 1 && waiting == 2
	})
	controllerstest.Eventually(t, "what is wrong is said", func() bool {
		return strings.Contains(says(get(t, e, "wrong")), `annotation gitopsd.io/gang-timeout is "soon"; a duration such as 10m is expected`)
	})
}

// What a scheduler promised in a gang's turn is on the Pods: the next one goes on with it.
func TestAGangKeepsItsTurnThoughTheSchedulerIsRestarted(t *testing.T) {
	e := controllerstest.New(t)
	e.Node(t, "n1", "2", "1Gi")
	create(t, e, "ends", "1", func(p *corev1.Pod) { p.Spec.NodeName, p.Spec.RestartPolicy = "n1", corev1.RestartPolicyNever })
	for _, name := range []string{"a", "b"} {
		create(t, e, name, "1", ofGang("train", 2))
		p := get(t, e, name)
		p.Status.NominatedNodeName = "n1"
		if _, err := e.Client.CoreV1().Pods("default").UpdateStatus(e.Ctx, p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create(t, e, "small", "1")
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	controllerstest.Eventually(t, "the gang has its turn, and the small Pod waits", func() bool {
		return strings.Contains(says(get(t, e, "a")), "room is kept for all of them") && says(get(t, e, "small")) != ""
	})
	if p := get(t, e, "small"); p.Spec.NodeName != "" {
		t.Errorf("the small Pod has taken the room on %s", p.Spec.NodeName)
	}
	deleteNow(t, e, "ends")
	controllerstest.Eventually(t, "the gang is bound", func() bool { bound, _ := members(t, e, "train"); return bound == 2 })
}

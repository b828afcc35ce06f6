package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

// kubelets end Pods that are being deleted, as nodes do, and report every moment at which a node has more bound to it than it offers.
func kubelets(t *testing.T, e *controllerstest.Env, milliCPU int64, overfull func(node string, used int64)) {
	t.Helper()
	w, err := e.Client.CoreV1().Pods("default").Watch(e.Ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { w.Stop(); <-done })
	go func() {
		defer close(done)
		where, used := map[string]string{}, map[string]int64{}
		leave := func(p *corev1.Pod) {
			if n := where[p.Name]; n != "" {
				used[n] -= p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
				delete(where, p.Name)
			}
		}
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			leave(p)
			if ev.Type == watch.Deleted || p.Spec.NodeName == "" {
				continue
			}
			where[p.Name] = p.Spec.NodeName
			used[p.Spec.NodeName] += p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
			if used[p.Spec.NodeName] > milliCPU {
				overfull(p.Spec.NodeName, used[p.Spec.NodeName])
			}
			if p.DeletionTimestamp != nil {
				// A Pod that somebody else has ended already is gone all the same.
				_ = e.Client.CoreV1().Pods("default").Delete(e.Ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
			}
		}
	}()
}

func TestNoNodeIsEverOverfullWhateverComesAndGoes(t *testing.T) {
	e := controllerstest.New(t)
	classes(t, e)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	kubelets(t, e, 2000, func(node string, used int64) { t.Errorf("node %s has %dm bound to it, of 2000m", node, used) })
	for i := range 4 {
		e.Node(t, fmt.Sprintf("n%d", i), "2", "4Gi")
	}
	r := rand.New(rand.NewPCG(37, 41))
	priorities := []string{"low", "mid", "high"}
	live := map[string]bool{}
	for i := range 250 {
		name := fmt.Sprintf("p%d", i)
		change := []func(*corev1.Pod){class(priorities[r.IntN(3)])}
		if r.IntN(4) == 0 {
			change = append(change, ofGang(fmt.Sprint("g", i/8), 2))
		}
		create(t, e, name, fmt.Sprintf("%dm", 200*(1+r.IntN(5))), change...)
		live[name] = true
		for other := range live {
			if r.IntN(12) == 0 {
				err := e.Client.CoreV1().Pods("default").Delete(e.Ctx, other, metav1.DeleteOptions{})
				if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
					t.Fatal(err)
				}
				delete(live, other)
				break
			}
		}
	}
	var open []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last seen without a node and a word, or being deleted: %v", open)
		}
	})
	controllerstest.Eventually(t, "every Pod has a node or says why not, and nobody is being deleted any more", func() bool {
		pods, err := e.Client.CoreV1().Pods("default").List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		open = nil
		for i := range pods.Items {
			if p := &pods.Items[i]; p.DeletionTimestamp != nil || p.Spec.NodeName == "" && says(p) == "" {
				open = append(open, fmt.Sprintf("%s on %q, deleted %v", p.Name, p.Spec.NodeName, p.DeletionTimestamp))
			}
		}
		return len(open) == 0
	})
	// A Pod of high priority without a node would mean that one of lower priority keeps it out.
	controllerstest.Eventually(t, "no Pod waits where a less important one alone is in its way", func() bool {
		return lowestBound(t, e) >= highestWaiting(t, e)
	})
}

func lowestBound(t *testing.T, e *controllerstest.Env) int32 {
	t.Helper()
	return extreme(t, e, true)
}

func highestWaiting(t *testing.T, e *controllerstest.Env) int32 {
	t.Helper()
	return extreme(t, e, false)
}

// extreme is the lowest priority of bound Pods that are as large as any, or the highest of single waiting Pods of the smallest size.
func extreme(t *testing.T, e *controllerstest.Env, bound bool) int32 {
	t.Helper()
	pods, err := e.Client.CoreV1().Pods("default").List(e.Ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := int32(-1)
	if bound {
		out = 100
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		switch cpu := p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue(); {
		case bound && p.Spec.NodeName != "":
			out = min(out, *p.Spec.Priority)
		case !bound && p.Spec.NodeName == "" && cpu == 200 && len(p.Annotations) == 0:
			out = max(out, *p.Spec.Priority)
		}
	}
	return out
}

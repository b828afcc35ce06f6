package poddisruptionbudget

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// world is an API server that evicts, and whose watches are late. Its clock goes a second with each change, since times in the API have no fractions of one.
type world struct {
	t       *testing.T
	rand    *rand.Rand
	client  *latetest.Client
	begin   time.Time
	version int
	budgets *latetest.Kind[*policyv1.PodDisruptionBudget]
	pods    *latetest.Kind[*corev1.Pod]
	lives   int // calls after which the controller dies; below 0 for never
	evicted int
}

const members = 6

var errDead = errors.New("the process has ended")

func newWorld(t *testing.T, client *latetest.Client, seed uint64) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), client: client, begin: time.Now(),
		budgets: latetest.NewKind[*policyv1.PodDisruptionBudget](t), pods: latetest.NewKind[*corev1.Pod](t),
	}
	w.budgets.Put(w.next(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web", Generation: 1},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromInt32(int32(w.rand.IntN(members)))), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		},
	})
	for i := range members {
		w.come(fmt.Sprint("web-", i))
	}
	return w
}

func (w *world) next() int {
	w.version++
	return w.version
}

func (w *world) now() metav1.Time {
	return metav1.NewTime(w.begin.Add(time.Duration(w.version) * time.Second))
}

func (w *world) budget() *policyv1.PodDisruptionBudget { return w.budgets.Real["web"] }

// controller starts one, whose caches are read anew.
func (w *world) controller() *Controller {
	w.lives = -1
	w.budgets.Relist(w.version)
	w.pods.Relist(w.version)
	w.client.AnsweredBy(func(a clienttesting.Action) (runtime.Object, error) {
		if w.lives == 0 {
			return nil, errDead
		}
		if w.lives > 0 {
			w.lives--
		}
		return latetest.Sometimes(w.rand, func(a clienttesting.Action) (runtime.Object, error) { return w.budgets.Serve(a, w.next) })(a)
	})
	return &Controller{
		client: w.client, events: &record.FakeRecorder{},
		budgets: policylisters.NewPodDisruptionBudgetLister(w.budgets.Cache), pods: corelisters.NewPodLister(w.pods.Cache),
	}
}

// come makes a Pod, under a name that another may have had: so a StatefulSet does.
func (w *world) come(name string) {
	version := w.next()
	w.pods.Put(version, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID(fmt.Sprint(name, version)), Labels: map[string]string{"app": "web"}, CreationTimestamp: w.now(),
	}})
}

// change makes a change of a Pod true.
func (w *world) change(name string, change func(*corev1.Pod)) {
	p := w.pods.Real[name].DeepCopy()
	change(p)
	w.pods.Put(w.next(), p)
}

func (w *world) healthy() (n int) {
	for _, p := range w.pods.Real {
		if p.DeletionTimestamp == nil && podstate.Ready(p) {
			n++
		}
	}
	return n
}

// evict is what the API server does with a request to evict a Pod. Whoever asked may die when the budget has been charged, and the Pod stays.
func (w *world) evict(name string) {
	p := w.pods.Real[name]
	if p.DeletionTimestamp != nil || !podstate.Ready(p) {
		return
	}
	b := w.budget().DeepCopy()
	if b.Status.ObservedGeneration < b.Generation || b.Status.DisruptionsAllowed == 0 {
		return
	}
	b.Status.DisruptionsAllowed--
	if b.Status.DisruptedPods == nil {
		b.Status.DisruptedPods = map[string]metav1.Time{}
	}
	version := w.next()
	b.Status.DisruptedPods[name] = w.now()
	w.budgets.Put(version, b)
	if w.rand.IntN(8) == 0 {
		return
	}
	w.leave(name)
	w.evicted++
	if least := b.Spec.MinAvailable.IntValue(); w.healthy() < least {
		w.t.Errorf("%s is evicted, and of the %d Pods that have to be healthy %d are left", name, least, w.healthy())
	}
}

func (w *world) leave(name string) {
	w.change(name, func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(w.now()) })
}

// goOn is what else happens: Pods that come, become ready and go. None becomes unhealthy by itself: what the controller cannot know yet, no budget protects from.
func (w *world) goOn(name string) {
	switch p := w.pods.Real[name]; {
	case p == nil:
		w.come(name)
	case p.DeletionTimestamp != nil:
		w.pods.Remove(w.next(), name)
	case !podstate.Ready(p):
		w.change(name, func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		})
	}
}

func (w *world) someName() string { return fmt.Sprint("web-", w.rand.IntN(members)) }

func TestLateWatchesLostAnswersAndDeathAllowNoEvictionTooMany(t *testing.T) {
	key := reconcile.Key{Namespace: "default", Name: "web"}
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 200
	}
	client := latetest.NewClient()
	evicted, deaths := 0, 0
	for seed := range seeds {
		w := newWorld(t, client, seed)
		c := w.controller()
		reconcileOnce := func() {
			_, _ = c.reconcile(context.Background(), key) // errors are meant to be retried, which a later turn does
			if w.lives == 0 {
				c = w.controller()
				deaths++
			}
		}
		for range 250 {
			switch n := w.rand.IntN(24); {
			case n < 7:
				reconcileOnce()
			case n < 11:
				w.pods.Deliver()
			case n < 13:
				w.budgets.Deliver()
			case n < 19:
				w.goOn(w.someName())
			case n < 22:
				if name := w.someName(); w.pods.Real[name] != nil {
					w.evict(name)
				}
			case w.rand.IntN(4) > 0:
			case n == 22:
				b := w.budget().DeepCopy()
				b.Generation++
				b.Spec.MinAvailable = ptr.To(intstr.FromInt32(int32(w.rand.IntN(members))))
				w.budgets.Put(w.next(), b)
			default:
				w.lives = 1 + w.rand.IntN(2) // it dies in the midst of what it does next
				reconcileOnce()
			}
		}
		// Left in peace, with all Pods there and healthy, it allows what there is beyond the least. Those that were to be evicted and were not may still be waited for.
		for range 4 {
			for i := range members {
				w.goOn(fmt.Sprint("web-", i))
			}
		}
		for range 20 {
			w.pods.Relist(w.version)
			w.budgets.Relist(w.version)
			reconcileOnce()
		}
		st := w.budget().Status
		if want := max(0, members-len(st.DisruptedPods)-w.budget().Spec.MinAvailable.IntValue()); int(st.DisruptionsAllowed) != want {
			t.Errorf("%d disruptions are allowed, want %d: %+v", st.DisruptionsAllowed, want, st)
		}
		evicted += w.evicted
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d Pods evicted, %d deaths", evicted, deaths)
}

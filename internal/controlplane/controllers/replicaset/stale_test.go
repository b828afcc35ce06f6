package replicaset

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	appslisters "k8s.io/client-go/listers/apps/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// world is an API server whose watches are late: what is true, and what of it the controller's caches show. Each kind has a watch of its own, which keeps
// the order of that kind's events; between the two kinds there is no order.
type world struct {
	t    *testing.T
	rand *rand.Rand

	mu      sync.Mutex
	version int
	pods    map[string]*corev1.Pod // true
	rs      *appsv1.ReplicaSet     // true
	events  []event                // of Pods, not yet shown, oldest first
	resized []*appsv1.ReplicaSet   // the same for the ReplicaSet
	calls   int
	lives   int  // calls after which the controller dies; 0 for none
	dead    bool // nothing that it sends arrives any more

	client *latetest.Client
	cache  *latetest.Indexer
	sets   cache.Indexer
	killed int // Pods that somebody else removed and the cache still shows
}

// errDead answers a controller that is no more.
var errDead = errors.New("the process has ended")

type event struct {
	version int
	name    string
	pod     *corev1.Pod // nil: deleted
	killed  bool
}

func newWorld(t *testing.T, client *latetest.Client, seed uint64) *world {
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	inf := cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.Pod{}, 0, cache.Indexers{})
	index.AddController(inf)
	if err := pods.AddIndexers(inf.GetIndexer().GetIndexers()); err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), pods: map[string]*corev1.Pod{}, version: 1,
		cache: &latetest.Indexer{Indexer: pods}, client: client,
		sets: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc, "controller": func(any) ([]string, error) { return nil, nil }}),
		rs: &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-web", Generation: 1},
			Spec: appsv1.ReplicaSetSpec{
				Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
			},
		},
	}
}

// controller makes one that knows nothing yet, as after a restart: the caches are read anew.
func (w *world) controller() *Controller {
	w.relist()
	answer := latetest.Sometimes(w.rand, w.carryOut)
	w.client.AnsweredBy(func(a clienttesting.Action) (runtime.Object, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.dead {
			return nil, errDead
		}
		if w.lives > 0 {
			w.lives--
			w.dead = w.lives == 0
		}
		return answer(a)
	})
	w.dead, w.lives = false, 0
	c := &Controller{client: w.client, events: &record.FakeRecorder{}, sets: replicaSets{w.client, appslisters.NewReplicaSetLister(w.sets)}, setIndex: w.sets, pods: w.cache}
	c.loop = reconcile.New("replicaset", c.reconcile)
	return c
}

// active counts the Pods that really are there.
func (w *world) active() (n int) {
	for _, p := range w.pods {
		if podstate.Active(p) {
			n++
		}
	}
	return n
}

// shown is the size that the controller knows of; it acts on nothing newer.
func (w *world) shown() int {
	obj, _, _ := w.sets.GetByKey("default/web")
	return int(*obj.(*appsv1.ReplicaSet).Spec.Replicas)
}

func (w *world) carryOut(a clienttesting.Action) (runtime.Object, error) {
	gr := corev1.Resource(a.GetResource().Resource)
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		p := a.Object.(*corev1.Pod).DeepCopy()
		if w.pods[p.Name] != nil {
			return nil, apierrors.NewAlreadyExists(gr, p.Name)
		}
		if have, want := w.active(), w.shown(); have >= want {
			w.t.Errorf("created %s although there were %d Pods of %d", p.Name, have, want)
		}
		w.calls++
		p.UID = types.UID("uid-" + p.Name)
		w.show(p.Name, p, false)
		return p.DeepCopy(), nil
	case clienttesting.DeleteActionImpl:
		p := w.pods[a.Name]
		if p == nil {
			return nil, apierrors.NewNotFound(gr, a.Name)
		}
		if p.DeletionTimestamp != nil {
			return p, nil
		}
		if have, want := w.active(), w.shown(); have-1 < want-w.killed {
			w.t.Errorf("deleted %s although there were only %d Pods of %d, and %d lost ones not yet seen", a.Name, have, want, w.killed)
		}
		w.calls++
		p = p.DeepCopy()
		now := metav1.Now()
		p.DeletionTimestamp = &now
		w.show(p.Name, p, false)
		return p, nil
	case clienttesting.GetActionImpl:
		if p := w.pods[a.Name]; p != nil {
			return p.DeepCopy(), nil
		}
		return nil, apierrors.NewNotFound(gr, a.Name)
	case clienttesting.UpdateActionImpl:
		return a.Object, nil // a status
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

// show makes a change true and lets the watch know of it.
func (w *world) show(name string, p *corev1.Pod, killed bool) {
	w.version++
	if p == nil {
		delete(w.pods, name)
	} else {
		p.ResourceVersion = strconv.Itoa(w.version)
		w.pods[name] = p
	}
	w.events = append(w.events, event{version: w.version, name: name, pod: p, killed: killed})
}

// deliverSize shows the cache one more change of the ReplicaSet.
func (w *world) deliverSize() {
	if len(w.resized) == 0 {
		return
	}
	if err := w.sets.Update(w.resized[0]); err != nil {
		w.t.Fatal(err)
	}
	w.resized = w.resized[1:]
}

// deliver shows the cache one more event of a Pod.
func (w *world) deliver() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) == 0 {
		return
	}
	e := w.events[0]
	w.events = w.events[1:]
	if e.killed {
		w.killed--
	}
	w.cache.Version = strconv.Itoa(e.version)
	var err error
	if e.pod == nil {
		err = w.cache.Delete(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: e.name}})
	} else {
		err = w.cache.Update(e.pod)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// relist shows the cache everything at once: a Pod that came and went since is never seen. Only the cache's version tells it from one not yet seen.
func (w *world) relist() {
	for len(w.events) > 0 {
		w.events = slices.DeleteFunc(w.events, func(e event) bool {
			_, exists := w.pods[e.name]
			if _, seen, _ := w.cache.GetByKey("default/" + e.name); exists || seen {
				return false
			}
			if e.killed {
				w.killed--
			}
			return true
		})
		w.deliver()
	}
	w.cache.Version = strconv.Itoa(w.version)
}

// meddle changes something behind the controller's back: the node runs or ends Pods, somebody deletes one, or the size changes.
func (w *world) meddle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := make([]string, 0, len(w.pods))
	for n := range w.pods {
		names = append(names, n)
	}
	slices.Sort(names)
	switch w.rand.IntN(5) {
	case 0:
		w.resize(w.rand.IntN(8))
	case 1, 2:
		for _, n := range names {
			if w.pods[n].DeletionTimestamp != nil {
				w.show(n, nil, false) // its containers have ended
				return
			}
		}
	case 3:
		if len(names) > 0 {
			p := w.pods[names[w.rand.IntN(len(names))]].DeepCopy()
			p.Spec.NodeName, p.Status.Phase = "n1", corev1.PodRunning
			w.show(p.Name, p, false)
		}
	case 4:
		if len(names) > 0 {
			n := names[w.rand.IntN(len(names))]
			if podstate.Active(w.pods[n]) {
				w.killed++
				w.show(n, nil, true)
			}
		}
	}
}

func (w *world) resize(n int) {
	rs := w.rs.DeepCopy()
	rs.Spec.Replicas = ptr.To(int32(n))
	rs.Generation++
	w.rs = rs
	w.resized = append(w.resized, rs)
}

func TestALateWatchAndLostAnswersLeadToNoPodTooManyOrTooFew(t *testing.T) {
	key := reconcile.Key{Namespace: "default", Name: "web"}
	seeds := uint64(4000)
	if testing.Short() {
		seeds = 200
	}
	total, deaths := 0, 0
	client := latetest.NewClient()
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := newWorld(t, client, seed)
			w.resize(5)
			w.deliverSize()
			c := w.controller()
			for range 150 {
				switch w.rand.IntN(9) {
				case 0, 1, 2, 3:
					_, _ = c.reconcile(context.Background(), key) // errors are meant to be retried, which a later turn does
				case 8:
					if w.rand.IntN(4) == 0 {
						w.lives = 1 + w.rand.IntN(4) // it dies in the midst of what it does next
						_, _ = c.reconcile(context.Background(), key)
						c = w.controller()
						deaths++
					}
				case 4:
					w.deliver()
				case 5:
					w.deliverSize()
				case 6:
					w.meddle()
				case 7:
					if w.rand.IntN(5) == 0 {
						w.relist()
					}
				}
			}
			// Left in peace, the caches catch up and the number is right.
			for range 60 {
				w.relist()
				w.deliverSize()
				_, _ = c.reconcile(context.Background(), key)
			}
			if got, want := w.active(), int(*w.rs.Spec.Replicas); got != want {
				t.Errorf("in the end there are %d Pods, want %d", got, want)
			}
			total += w.calls
		})
	}
	t.Logf("%d creates and deletes, %d deaths", total, deaths)
}

package deployment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	appslisters "k8s.io/client-go/listers/apps/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// world is an API server whose watches are late, and ReplicaSets whose Pods come, become available and go as the seed has it.
type world struct {
	t           *testing.T
	rand        *rand.Rand
	client      *latetest.Client
	version     int
	deployments *latetest.Kind[*appsv1.Deployment]
	sets        *latetest.Kind[*appsv1.ReplicaSet]
	pods        *latetest.Kind[*corev1.Pod]   // only with the strategy Recreate
	seen        map[string]*appsv1.ReplicaSet // as their controller sees them, which is late too
	controls    *Controller
	writes      int
	lives       int // calls after which the controller dies; below 0 for never
}

var errDead = errors.New("the process has ended")

func newWorld(t *testing.T, client *latetest.Client, seed uint64) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), client: client,
		deployments: latetest.NewKind[*appsv1.Deployment](t), sets: latetest.NewKind[*appsv1.ReplicaSet](t),
		pods: latetest.NewKind[*corev1.Pod](t), seen: map[string]*appsv1.ReplicaSet{},
	}
	labels := map[string]string{"app": "web"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](5), Selector: &metav1.LabelSelector{MatchLabels: labels}, RevisionHistoryLimit: ptr.To(int32(w.rand.IntN(3))),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "v0"}}}},
		},
	}
	surge := w.rand.IntN(3)
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
		MaxSurge: ptr.To(intstr.FromInt(surge)), MaxUnavailable: ptr.To(intstr.FromInt(w.rand.IntN(2) + max(0, 1-surge))),
	}}
	if seed%3 == 0 {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	w.deployments.Put(w.next(), d)
	return w
}

func (w *world) recreates() bool { return !rolling(w.deployment()) }

func (w *world) next() int {
	w.version++
	return w.version
}

func (w *world) deployment() *appsv1.Deployment { return w.deployments.Real["web"] }

// shown is the Deployment as the controller sees it: in its cache, or as its own last write was answered.
func (w *world) shown() *appsv1.Deployment {
	obj, _, _ := w.deployments.Cache.GetByKey("default/web")
	return w.controls.written.Later(obj.(*appsv1.Deployment))
}

// controller starts one. What an earlier one remembered is lost, and the caches are read anew.
func (w *world) controller() *Controller {
	w.lives = -1
	w.relist()
	w.client.AnsweredBy(func(a clienttesting.Action) (runtime.Object, error) {
		if w.lives == 0 {
			return nil, errDead
		}
		if w.lives > 0 {
			w.lives--
		}
		return latetest.Sometimes(w.rand, w.carryOut)(a)
	})
	c := &Controller{
		client: w.client, events: &record.FakeRecorder{}, deployments: appslisters.NewDeploymentLister(w.deployments.Cache),
		setLister: appslisters.NewReplicaSetLister(w.sets.Cache), sets: w.sets.Cache,
		pods: w.pods.Cache,
	}
	c.loop = reconcile.New("deployment", c.reconcile)
	w.controls = c
	return c
}

func (w *world) relist() {
	w.deployments.Relist(w.version)
	w.sets.Relist(w.version)
	w.pods.Relist(w.version)
}

func (w *world) carryOut(a clienttesting.Action) (runtime.Object, error) {
	switch a.GetResource().Resource {
	case "deployments":
		return w.deployments.Serve(a, w.next)
	case "pods":
		list := &corev1.PodList{}
		for _, p := range w.pods.Real {
			list.Items = append(list.Items, *p)
		}
		return list, nil
	}
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		rs := a.Object.(*appsv1.ReplicaSet)
		for _, other := range w.sets.Real {
			if other.Name != rs.Name && sameTemplate(&rs.Spec.Template, &other.Spec.Template) {
				w.t.Errorf("ReplicaSet %s is made although %s has the same template", rs.Name, other.Name)
			}
		}
		if w.sets.Real[rs.Name] == nil {
			w.resized(0, 0, int(size(rs)), rs.Name)
		}
	case clienttesting.UpdateActionImpl:
		rs := a.Object.DeepCopyObject().(*appsv1.ReplicaSet)
		if was := w.sets.Real[rs.Name]; was != nil && was.ResourceVersion == rs.ResourceVersion {
			w.resized(int(size(was)), int(was.Status.AvailableReplicas), int(size(rs)), rs.Name)
			if size(was) != size(rs) {
				rs.Generation++
			}
		}
		a.Object = rs
		return w.sets.Serve(a, w.next)
	case clienttesting.DeleteActionImpl:
		rs := w.sets.Real[a.Name]
		if rs == nil {
			return nil, apierrors.NewNotFound(appsv1.Resource("replicasets"), a.Name)
		}
		if p := a.DeleteOptions.Preconditions; p == nil || *p.ResourceVersion != rs.ResourceVersion {
			return nil, apierrors.NewConflict(appsv1.Resource("replicasets"), a.Name, errors.New("changed"))
		}
		if size(rs) != 0 {
			w.t.Errorf("ReplicaSet %s is deleted although it is to have %d Pods", rs.Name, size(rs))
		}
		w.sets.Remove(w.next(), a.Name)
		return rs, nil
	}
	return w.sets.Serve(a, w.next)
}

// resized checks a change of a ReplicaSet's size that is about to be made.
func (w *world) resized(from, available, to int, name string) {
	w.writes++
	d := w.shown()
	if !rolling(d) {
		for _, p := range w.pods.Real {
			if of := p.OwnerReferences[0].Name; to > from && of != name {
				w.t.Errorf("%s is scaled from %d to %d while a Pod of %s is there", name, from, to, of)
			}
		}
		return
	}
	all, up := 0, 0
	for _, rs := range w.sets.Real {
		all += int(size(rs))
		up += min(int(rs.Status.AvailableReplicas), int(size(rs)))
	}
	surge, unavailable := d.Spec.Strategy.RollingUpdate.MaxSurge.IntValue(), d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue()
	want := int(*d.Spec.Replicas)
	if most := want + surge; to > from && all+to-from > most {
		w.t.Errorf("%s is scaled from %d to %d: %d Pods in all, want at most %d", name, from, to, all+to-from, most)
	}
	if lost := max(0, min(available, from)-to); lost > 0 && up-lost < want-unavailable {
		w.t.Errorf("%s is scaled from %d to %d: %d of %d available Pods are left, want at least %d", name, from, to, up-lost, up, want-unavailable)
	}
}

// meddle lets a ReplicaSet come closer to its size, or changes what is wanted.
func (w *world) meddle() {
	switch w.rand.IntN(12) {
	case 0:
		d := w.deployment().DeepCopy()
		d.Generation++
		d.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("v%d", w.rand.IntN(4))
		w.deployments.Put(w.next(), d)
	case 1:
		d := w.deployment().DeepCopy()
		d.Generation++
		d.Spec.Replicas = ptr.To(int32(w.rand.IntN(9)))
		w.deployments.Put(w.next(), d)
	case 2, 3, 4:
		for _, name := range slices.Sorted(maps.Keys(w.pods.Real)) {
			w.pods.Remove(w.next(), name) // a node is lost, with all Pods
		}
	default:
		names := slices.Sorted(maps.Keys(w.sets.Real))
		if len(names) > 0 {
			w.advance(names[w.rand.IntN(len(names))], 1+w.rand.Int32N(3))
		}
	}
}

// advance is the ReplicaSet's controller and the nodes: as many Pods as there are to be, some of them available.
func (w *world) advance(name string, by int32) {
	rs := w.sets.Real[name].DeepCopy()
	n := size(rs)
	rs.Status.ObservedGeneration = rs.Generation
	if w.recreates() {
		n = w.populate(rs, int(by))
	}
	rs.Status.Replicas = n
	rs.Status.AvailableReplicas = min(n, rs.Status.AvailableReplicas+by)
	rs.Status.ReadyReplicas = rs.Status.AvailableReplicas
	w.sets.Put(w.next(), rs)
}

// populate has the Pods of a ReplicaSet come and go, up to so many at a time, as its controller wants it that may not know its size yet. It returns how many there are.
func (w *world) populate(rs *appsv1.ReplicaSet, by int) int32 {
	seen := w.seen[rs.Name]
	if seen == nil || w.rand.IntN(2) == 0 {
		seen = rs
		w.seen[rs.Name] = rs
	}
	rs.Status.ObservedGeneration = seen.Generation
	var own []string
	for _, name := range slices.Sorted(maps.Keys(w.pods.Real)) {
		if of := w.pods.Real[name].OwnerReferences[0]; of.UID == rs.UID {
			own = append(own, name)
		} else if size(seen) > 0 {
			w.t.Errorf("a Pod of %s is made while one of %s is there", rs.Name, of.Name)
		}
	}
	n := len(own)
	for ; n < int(size(seen)) && by > 0; n, by = n+1, by-1 {
		version := w.next()
		w.pods.Put(version, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprintf("%s-%d", rs.Name, version), Labels: map[string]string{"app": "web"}, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
		}})
	}
	for ; n > int(size(seen)) && by > 0; n, by = n-1, by-1 {
		w.pods.Remove(w.next(), own[n-1])
	}
	return int32(n)
}

func TestLateWatchesLostAnswersAndDeathNeverLeaveTheBoundsOfARollout(t *testing.T) {
	key := reconcile.Key{Namespace: "default", Name: "web"}
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 200
	}
	client := latetest.NewClient()
	writes, deaths := 0, 0
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
		for range 150 {
			switch n := w.rand.IntN(16); {
			case n < 6:
				reconcileOnce()
			case n < 8:
				w.sets.Deliver()
			case n < 9 && w.rand.IntN(2) == 0:
				w.pods.Deliver()
			case n < 9:
				w.sets.Deliver()
			case n < 11:
				w.deployments.Deliver()
			case n < 14:
				w.meddle()
			case n == 14 && w.rand.IntN(4) == 0:
				w.relist()
			case n == 15 && w.rand.IntN(4) == 0:
				w.lives = 1 + w.rand.IntN(3) // it dies in the midst of what it does next
				reconcileOnce()
			}
		}
		// Left in peace, the rollout comes to its end.
		for range 60 {
			for _, name := range slices.Sorted(maps.Keys(w.sets.Real)) {
				w.advance(name, 9)
			}
			w.relist()
			reconcileOnce()
		}
		d := w.deployment()
		for _, rs := range w.sets.Real {
			want := int32(0)
			if sameTemplate(&d.Spec.Template, &rs.Spec.Template) {
				want = *d.Spec.Replicas
			}
			if size(rs) != want {
				t.Errorf("in the end ReplicaSet %s is to have %d Pods, want %d", rs.Name, size(rs), want)
			}
		}
		if s := d.Status; s.UpdatedReplicas != *d.Spec.Replicas || s.AvailableReplicas != *d.Spec.Replicas || s.ObservedGeneration != d.Generation {
			t.Errorf("in the end the status is %+v, want %d Pods", s, *d.Spec.Replicas)
		}
		if most := int(*d.Spec.RevisionHistoryLimit) + 1; len(w.sets.Real) > most {
			t.Errorf("in the end there are %d ReplicaSets, want at most %d", len(w.sets.Real), most)
		}
		writes += w.writes
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d changes of sizes, %d deaths", writes, deaths)
}

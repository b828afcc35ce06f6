package statefulset

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerrevision"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// world is an API server, the nodes, the garbage collector, and four watches that are late: each keeps the order of its own kind's events, and between them
// there is no order. It checks every write against what is true, not against what the controller could see.
type world struct {
	t    *testing.T
	rand *rand.Rand

	version   int
	sets      *latetest.Kind[*appsv1.StatefulSet]
	pods      *latetest.Kind[*corev1.Pod]
	revisions *latetest.Kind[*appsv1.ControllerRevision]
	claims    *latetest.Kind[*corev1.PersistentVolumeClaim]

	lives int // calls until the controller dies; below zero: it lives on
	// steady: no more failing calls.
	steady  bool
	told    sets.Set[types.UID] // Pods that the controller has told to go
	missing map[string]bool     // Pods that it has told to go, that are gone, and that have not been made anew and ready since
	creates int
	deletes int
}

var errDead = errors.New("the controller is dead")

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), version: 1, lives: -1, told: sets.New[types.UID](), missing: map[string]bool{},
		sets: latetest.NewKind[*appsv1.StatefulSet](t), pods: latetest.NewKind[*corev1.Pod](t), revisions: latetest.NewKind[*appsv1.ControllerRevision](t), claims: latetest.NewKind[*corev1.PersistentVolumeClaim](t),
	}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", UID: "uid-db", Generation: 1},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To(int32(w.rand.IntN(5))), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, Template: *template("1"),
			PodManagementPolicy: []appsv1.PodManagementPolicyType{appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement}[w.rand.IntN(2)],
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{
				MaxUnavailable: ptr.To(intstr.FromInt(1 + w.rand.IntN(2))),
			}},
			RevisionHistoryLimit: ptr.To(int32(w.rand.IntN(2))),
		},
	}
	if w.rand.IntN(2) == 0 {
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
		set.Spec.PersistentVolumeClaimRetentionPolicy = w.policy()
	}
	w.sets.Put(w.next(), set)
	w.sets.Deliver()
	return w
}

func (w *world) policy() *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	either := func() appsv1.PersistentVolumeClaimRetentionPolicyType {
		return []appsv1.PersistentVolumeClaimRetentionPolicyType{appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType}[w.rand.IntN(2)]
	}
	return &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: either(), WhenScaled: either()}
}

func (w *world) next() int {
	w.version++
	return w.version
}

func (w *world) set() *appsv1.StatefulSet { return w.sets.Real["db"] }

// shown is the StatefulSet as the controller sees it.
func (w *world) shown() *appsv1.StatefulSet {
	obj, _, _ := w.sets.Cache.GetByKey("default/db")
	return obj.(*appsv1.StatefulSet)
}

var theClient = latetest.NewClient()

// controller starts one. What an earlier one remembered is lost, and the caches are read anew.
func (w *world) controller() *Controller {
	theClient.AnsweredBy(w.answer)
	w.lives = -1
	w.relist()
	c := &Controller{
		client: theClient, events: &record.FakeRecorder{}, sets: appslisters.NewStatefulSetLister(w.sets.Cache),
		claims: corelisters.NewPersistentVolumeClaimLister(w.claims.Cache), pods: w.pods.Cache,
		history: controllerrevision.NewWithCache(theClient, w.revisions.Cache, fieldManager), clock: time.Now,
	}
	c.loop = reconcile.New("statefulset", c.reconcile)
	return c
}

func (w *world) relist() {
	w.sets.Relist(w.version)
	w.pods.Relist(w.version)
	w.revisions.Relist(w.version)
	w.claims.Relist(w.version)
}

// answer is the API server.
func (w *world) answer(a clienttesting.Action) (runtime.Object, error) {
	if w.lives == 0 {
		return nil, errDead
	}
	if w.lives > 0 {
		w.lives--
	}
	if w.steady {
		return w.carryOut(a)
	}
	return latetest.Sometimes(w.rand, w.carryOut)(a)
}

func (w *world) carryOut(a clienttesting.Action) (runtime.Object, error) {
	switch a.GetResource().Resource {
	case "pods":
		return w.pod(a)
	case "persistentvolumeclaims":
		return w.claim(a)
	case "controllerrevisions":
		return w.revision(a)
	case "statefulsets":
		if u, ok := a.(clienttesting.UpdateActionImpl); ok && u.Subresource == "status" {
			return w.status(u.Object.(*appsv1.StatefulSet))
		}
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

func (w *world) pod(a clienttesting.Action) (runtime.Object, error) {
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		p := a.Object.(*corev1.Pod)
		w.checkCreate(p)
		p.Status.Phase = corev1.PodPending
		w.creates++
	case clienttesting.DeleteActionImpl:
		p := w.pods.Real[a.Name]
		switch uid := a.DeleteOptions.Preconditions.UID; {
		case p == nil:
			return nil, apierrors.NewNotFound(corev1.Resource("pods"), a.Name)
		case p.UID != *uid:
			return nil, apierrors.NewConflict(corev1.Resource("pods"), a.Name, errors.New("another UID"))
		}
		w.checkDelete(p)
		w.told.Insert(p.UID)
		w.deletes++
		if p.DeletionTimestamp == nil {
			p = p.DeepCopy()
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			w.pods.Put(w.next(), p)
		}
		return p, nil
	}
	return w.pods.Serve(a, w.next)
}

func (w *world) claim(a clienttesting.Action) (runtime.Object, error) {
	if _, ok := a.(clienttesting.DeleteActionImpl); ok {
		w.t.Error("deleted a claim")
	}
	return w.claims.Serve(a, w.next)
}

func (w *world) revision(a clienttesting.Action) (runtime.Object, error) {
	d, ok := a.(clienttesting.DeleteActionImpl)
	if !ok {
		obj, err := w.revisions.Serve(a, w.next)
		seen := map[int64]string{}
		for name, r := range w.revisions.Real {
			if other := seen[r.Revision]; other != "" {
				w.t.Errorf("%s and %s are both number %d", name, other, r.Revision)
			}
			seen[r.Revision] = name
		}
		return obj, err
	}
	r := w.revisions.Real[d.Name]
	if r == nil {
		return nil, apierrors.NewNotFound(appsv1.Resource("controllerrevisions"), d.Name)
	}
	if pre := d.DeleteOptions.Preconditions; *pre.UID != r.UID || *pre.ResourceVersion != r.ResourceVersion {
		return nil, apierrors.NewConflict(appsv1.Resource("controllerrevisions"), d.Name, errors.New("changed"))
	}
	for _, p := range w.pods.Real {
		if revisionOf(p) == d.Name {
			w.t.Errorf("deleted revision %s, which %s is of", d.Name, p.Name)
		}
	}
	w.revisions.Remove(w.next(), d.Name)
	return r, nil
}

func (w *world) status(set *appsv1.StatefulSet) (runtime.Object, error) {
	was := w.set()
	if set.ResourceVersion != was.ResourceVersion {
		return nil, apierrors.NewConflict(appsv1.Resource("statefulsets"), set.Name, errors.New("changed"))
	}
	for _, err := range validation.StatefulSetStatusUpdate(set, was) {
		if err.Field != "metadata.resourceVersion" && err.Field != "metadata.creationTimestamp" {
			w.t.Errorf("the status is refused: %v", err)
		}
	}
	for _, name := range []string{set.Status.CurrentRevision, set.Status.UpdateRevision} {
		if w.revisions.Real[name] == nil {
			w.t.Errorf("the status names the revision %q, which there is not", name)
		}
	}
	next := was.DeepCopy()
	next.Status = set.Status
	w.sets.Put(w.next(), next)
	return next.DeepCopy(), nil
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.pods.Real)) }

// run lets a node bring one Pod a step further.
func (w *world) run(name string, well bool) {
	p := w.pods.Real[name].DeepCopy()
	ready := func(is corev1.ConditionStatus) {
		p.Status.Phase, p.Status.Conditions = corev1.PodRunning, []corev1.PodCondition{{Type: corev1.PodReady, Status: is}}
	}
	switch {
	case p.DeletionTimestamp != nil:
		if w.told.Has(p.UID) {
			w.missing[name] = true
		}
		w.pods.Remove(w.next(), name)
		return
	case podstate.Finished(p):
		return
	case w.lacksClaim(p):
		return
	case well && podstate.Ready(p):
		return
	case well:
		ready(corev1.ConditionTrue)
		delete(w.missing, name)
	case w.rand.IntN(3) == 0:
		p.Status.Phase, p.Status.Conditions = corev1.PodFailed, nil
	default:
		ready(corev1.ConditionFalse)
	}
	w.pods.Put(w.next(), p)
}

func (w *world) lacksClaim(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return w.claims.Real[v.PersistentVolumeClaim.ClaimName] == nil })
}

// collect deletes claims that go with a Pod that is no more.
func (w *world) collect() {
	for _, name := range slices.Sorted(maps.Keys(w.claims.Real)) {
		for _, ref := range w.claims.Real[name].OwnerReferences {
			if p := w.pods.Real[ref.Name]; ref.Kind == "Pod" && (p == nil || p.UID != ref.UID) {
				w.claims.Remove(w.next(), name)
				break
			}
		}
	}
}

// meddle changes something behind the controller's back.
func (w *world) meddle() {
	names := w.names()
	switch n := w.rand.IntN(14); {
	case n < 8 && len(names) > 0:
		w.run(names[w.rand.IntN(len(names))], w.rand.IntN(8) > 0)
	case n == 8 && len(names) > 0: // somebody deletes a Pod
		if p := w.pods.Real[names[w.rand.IntN(len(names))]].DeepCopy(); p.DeletionTimestamp == nil {
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			w.pods.Put(w.next(), p)
		}
	case n == 9:
		w.collect()
	case n == 10:
		w.change(func(s *appsv1.StatefulSetSpec) { s.Replicas = ptr.To(int32(w.rand.IntN(5))) })
	case n == 11:
		w.change(func(s *appsv1.StatefulSetSpec) { s.Template = *template(fmt.Sprint(w.rand.IntN(4))) })
	case n == 12:
		w.change(func(s *appsv1.StatefulSetSpec) {
			if s.Ordinals == nil && s.UpdateStrategy.RollingUpdate != nil {
				s.UpdateStrategy.RollingUpdate.Partition = ptr.To(int32(w.rand.IntN(3)))
			}
		})
	case n == 13:
		w.change(func(s *appsv1.StatefulSetSpec) { s.PersistentVolumeClaimRetentionPolicy = w.policy() })
	}
}

func (w *world) change(f func(*appsv1.StatefulSetSpec)) {
	set := w.set().DeepCopy()
	f(&set.Spec)
	set.Generation++
	w.sets.Put(w.next(), set)
}

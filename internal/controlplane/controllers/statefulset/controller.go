package statefulset

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerrevision"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-statefulset"

const (
	workers = 8
	// lookAgain bounds how long a write may stay out of the caches without any event before they are looked at again.
	lookAgain = 5 * time.Second
)

// Controller is the controller of StatefulSets.
type Controller struct {
	client  kubernetes.Interface
	events  record.EventRecorder
	sets    appslisters.StatefulSetLister
	claims  corelisters.PersistentVolumeClaimLister
	pods    cache.Indexer
	history *controllerrevision.History
	synced  []cache.InformerSynced
	ledger  ledger.Ledger
	written ledger.Written // statuses
	loop    *reconcile.Loop
	clock   func() time.Time
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	setInf, podInf, claimInf := f.Apps().V1().StatefulSets(), f.Core().V1().Pods(), f.Core().V1().PersistentVolumeClaims()
	index.AddController(podInf.Informer())
	c := &Controller{
		client: client, events: events, sets: setInf.Lister(), claims: claimInf.Lister(), pods: podInf.Informer().GetIndexer(),
		history: controllerrevision.New(client, f, fieldManager), clock: time.Now,
	}
	c.loop = reconcile.New("statefulset", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(setInf.Informer(), c.loop.Handler()),
		reconcile.Listen(podInf.Informer(), c.loop.HandlerFor(c.setsOfPod)),
		reconcile.Listen(claimInf.Informer(), c.loop.HandlerFor(c.setsOfClaim)),
		reconcile.Listen(c.history.Informer(), c.loop.HandlerFor(c.setsOfRevision)),
		reconcile.Listen(setInf.Informer(), cache.ResourceEventHandlerFuncs{DeleteFunc: c.forget}),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

// forget drops what is remembered about a StatefulSet that is gone.
func (c *Controller) forget(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if set, ok := obj.(*appsv1.StatefulSet); ok {
		c.ledger.Forget(set.UID)
		c.written.Forget(set.UID)
		c.history.Forget(set.UID)
	}
}

// setsOfPod names the StatefulSet that a Pod belongs to: its controller, or for an orphan the one whose name its own begins with.
func (c *Controller) setsOfPod(obj any) []reconcile.Key {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		return controllerKey(pod.Namespace, ref)
	}
	if name, _, ok := member(pod.Name); ok {
		if _, err := c.sets.StatefulSets(pod.Namespace).Get(name); err == nil {
			return []reconcile.Key{{Namespace: pod.Namespace, Name: name}}
		}
	}
	return nil
}

func controllerKey(namespace string, ref *metav1.OwnerReference) []reconcile.Key {
	if ref.Kind != kind.Kind {
		return nil
	}
	return []reconcile.Key{{Namespace: namespace, Name: ref.Name}}
}

// setsOfClaim names the StatefulSets with a template that a claim may have been made from.
func (c *Controller) setsOfClaim(obj any) []reconcile.Key {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil
	}
	return c.where(claim.Namespace, func(set *appsv1.StatefulSet) bool { return claims(set, claim.Name) })
}

// setsOfRevision names the StatefulSet that a revision belongs to: its controller, or for an orphan those that could adopt it.
func (c *Controller) setsOfRevision(obj any) []reconcile.Key {
	r, ok := obj.(*appsv1.ControllerRevision)
	if !ok {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(r); ref != nil {
		return controllerKey(r.Namespace, ref)
	}
	return c.where(r.Namespace, func(set *appsv1.StatefulSet) bool {
		s, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		return err == nil && !s.Empty() && s.Matches(labels.Set(r.Labels))
	})
}

func (c *Controller) where(namespace string, ok func(*appsv1.StatefulSet) bool) []reconcile.Key {
	all, err := c.sets.StatefulSets(namespace).List(labels.Everything())
	if err != nil {
		slog.Error("statefulset: listing from the cache failed", "namespace", namespace, "err", err)
		return nil
	}
	var keys []reconcile.Key
	for _, set := range all {
		if ok(set) {
			keys = append(keys, reconcile.Key{Namespace: set.Namespace, Name: set.Name})
		}
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	set, err := c.sets.StatefulSets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if c.written.NewerThan(set) {
		return reconcile.Result{After: lookAgain}, nil // by this copy, the revision that Pods are to be kept at may be one of long ago
	}
	owned, err := c.owned(ctx, set)
	if err != nil {
		return reconcile.Result{}, err
	}
	if owned.creating > 0 {
		return reconcile.Result{After: lookAgain}, nil // the new Pods' own events come first, within milliseconds
	}
	claims, err := c.claimsOf(ctx, set, owned.pods)
	if err != nil {
		return reconcile.Result{}, err
	}
	revisions, err := c.revisions(ctx, set)
	if err != nil {
		return reconcile.Result{}, err
	}
	a := Decide(Observed{
		Set: set, Pods: owned.pods, Deleting: owned.deleting, Claims: claims,
		Current: revisions.current, Update: revisions.update, Collisions: revisions.collisions, Now: c.clock(),
	})
	slog.Debug("statefulset", "object", key.String(), "create", len(a.Create), "delete", len(a.Delete), "waits", a.Waits)
	actErr := c.act(ctx, set, a)
	if err := cmp.Or(c.writeStatus(ctx, set, a.Status), actErr, c.trim(ctx, revisions, owned.pods, a.Status)); err != nil {
		return reconcile.Result{}, err
	}
	after := a.Recheck
	if (len(a.Create)+len(a.Delete) > 0 || owned.deleting.Len() > 0) && (after == 0 || after > lookAgain) {
		after = lookAgain
	}
	return reconcile.Result{After: after}, nil
}

// writeStatus reports what was observed. It is written on top of the version it was worked out from, or not at all.
func (c *Controller) writeStatus(ctx context.Context, set *appsv1.StatefulSet, status appsv1.StatefulSetStatus) error {
	if apiequality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	next := set.DeepCopy()
	next.Status = status
	got, err := c.client.AppsV1().StatefulSets(set.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil // deleted: its Pods are orphans now
	}
	if err != nil {
		return fmt.Errorf("the StatefulSet %s/%s: writing its status: %w", set.Namespace, set.Name, err)
	}
	c.written.Wrote(set.UID, got.ResourceVersion)
	return nil
}

// trim deletes revisions beyond the limit that neither a Pod nor the status refers to.
func (c *Controller) trim(ctx context.Context, r revisions, pods []*corev1.Pod, status appsv1.StatefulSetStatus) error {
	if r.owner.Object.GetDeletionTimestamp() != nil {
		return nil
	}
	inUse := sets.New(r.current.Name, r.update.Name, status.CurrentRevision)
	for _, p := range pods {
		inUse.Insert(revisionOf(p))
	}
	return c.history.Trim(ctx, r.owner, r.all, inUse)
}

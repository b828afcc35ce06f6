package daemonset

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
const fieldManager = "gitopsd-daemonset"

const (
	workers = 8
	// lookAgain bounds how long a write may stay out of the caches without any event before they are looked at again.
	lookAgain = 5 * time.Second
)

// Controller is the controller of DaemonSets.
type Controller struct {
	client  kubernetes.Interface
	events  record.EventRecorder
	sets    appslisters.DaemonSetLister
	nodes   corelisters.NodeLister
	pods    cache.Indexer
	history *controllerrevision.History
	synced  []cache.InformerSynced
	ledger  ledger.Ledger
	written ledger.Written // statuses
	backoff backoff
	loop    *reconcile.Loop
	clock   func() time.Time
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	setInf, podInf, nodeInf := f.Apps().V1().DaemonSets(), f.Core().V1().Pods(), f.Core().V1().Nodes()
	index.AddController(podInf.Informer())
	c := &Controller{
		client: client, events: events, sets: setInf.Lister(), nodes: nodeInf.Lister(), pods: podInf.Informer().GetIndexer(),
		history: controllerrevision.New(client, f, fieldManager), clock: time.Now,
	}
	c.loop = reconcile.New("daemonset", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(setInf.Informer(), c.loop.Handler()),
		reconcile.Listen(podInf.Informer(), c.loop.HandlerFor(c.setsOf)),
		reconcile.Listen(c.history.Informer(), c.loop.HandlerFor(c.setsOf)),
		reconcile.Listen(nodeInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { c.wakeAll() },
			UpdateFunc: func(old, obj any) {
				if was, is := old.(*corev1.Node), obj.(*corev1.Node); !apiequality.Semantic.DeepEqual(was.Labels, is.Labels) ||
					!apiequality.Semantic.DeepEqual(was.Spec.Taints, is.Spec.Taints) {
					c.wakeAll()
				}
			},
			DeleteFunc: func(any) { c.wakeAll() },
		}),
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

// forget drops what is remembered about a DaemonSet that is gone.
func (c *Controller) forget(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if set, ok := obj.(*appsv1.DaemonSet); ok {
		c.ledger.Forget(set.UID)
		c.written.Forget(set.UID)
		c.backoff.forget(set.UID)
		c.history.Forget(set.UID)
	}
}

// setsOf names the DaemonSet that a Pod or a revision belongs to: its controller, or for an orphan those that could adopt it.
func (c *Controller) setsOf(obj any) []reconcile.Key {
	o, ok := obj.(metav1.Object)
	if !ok {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		if ref.Kind != kind.Kind {
			return nil
		}
		return []reconcile.Key{{Namespace: o.GetNamespace(), Name: ref.Name}}
	}
	return c.where(o.GetNamespace(), func(set *appsv1.DaemonSet) bool {
		s, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		return err == nil && !s.Empty() && s.Matches(labels.Set(o.GetLabels()))
	})
}

// wakeAll looks at every DaemonSet: which nodes there are, and which fit, concerns all of them.
func (c *Controller) wakeAll() {
	for _, key := range c.where(metav1.NamespaceAll, func(*appsv1.DaemonSet) bool { return true }) {
		c.loop.Enqueue(key)
	}
}

func (c *Controller) where(namespace string, ok func(*appsv1.DaemonSet) bool) []reconcile.Key {
	all, err := c.sets.DaemonSets(namespace).List(labels.Everything())
	if err != nil {
		slog.Error("daemonset: listing from the cache failed", "namespace", namespace, "err", err)
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
	set, err := c.sets.DaemonSets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if set.DeletionTimestamp != nil {
		return reconcile.Result{}, nil // what it has is the garbage collector's by now, to delete or to leave
	}
	if c.written.NewerThan(set) {
		return reconcile.Result{After: lookAgain}, nil // its collision count may be an older one
	}
	selector, err := selectorOf(set)
	if err != nil {
		return reconcile.Result{}, err
	}
	if selector.Empty() {
		c.events.Event(set, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return reconcile.Result{}, nil
	}
	owned, err := c.owned(ctx, set, selector)
	if err != nil {
		return reconcile.Result{}, err
	}
	if owned.creating > 0 {
		return reconcile.Result{After: lookAgain}, nil // the new Pods' own events come first, within milliseconds
	}
	revisions, err := c.record(ctx, set, selector)
	if err != nil {
		return reconcile.Result{}, err
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return reconcile.Result{}, err
	}
	now := c.clock()
	a := Decide(Observed{
		Set: set, Nodes: nodes, Pods: owned.pods, Deleting: owned.deleting, Hash: revisions.hash(), Backoff: c.backoff.left(set.UID, now),
		Collisions: revisions.Collisions, Now: now,
	})
	slog.Debug("daemonset", "object", key.String(), "create", len(a.Create), "delete", len(a.Delete))
	actErr := c.act(ctx, set, revisions.hash(), a)
	if err := cmp.Or(actErr, c.writeStatus(ctx, set, a.Status), c.trim(ctx, revisions, owned.pods)); err != nil {
		return reconcile.Result{}, err
	}
	after := a.Recheck
	if (len(a.Create)+len(a.Delete) > 0 || owned.deleting.Len() > 0) && (after == 0 || after > lookAgain) {
		after = lookAgain
	}
	return reconcile.Result{After: after}, nil
}

// writeStatus reports what was observed. It is written on top of the version it was worked out from, or not at all.
func (c *Controller) writeStatus(ctx context.Context, set *appsv1.DaemonSet, status appsv1.DaemonSetStatus) error {
	if apiequality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	next := set.DeepCopy()
	next.Status = status
	got, err := c.client.AppsV1().DaemonSets(set.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("the DaemonSet %s/%s: writing its status: %w", set.Namespace, set.Name, err)
	}
	c.written.Wrote(set.UID, got.ResourceVersion)
	return nil
}

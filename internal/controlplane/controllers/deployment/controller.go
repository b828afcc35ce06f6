package deployment

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claim"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-deployment"

// Kind is what this controller looks after, as its ReplicaSets' owner references name it.
var Kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

const (
	workers = 8
	// lookAgain bounds how long a write may stay out of the cache without any event.
	lookAgain = 5 * time.Second
)

// Controller is the Deployment controller.
type Controller struct {
	client      kubernetes.Interface
	events      record.EventRecorder
	deployments appslisters.DeploymentLister
	setLister   appslisters.ReplicaSetLister
	sets        cache.Indexer
	pods        cache.Indexer
	synced      []cache.InformerSynced
	unseen      ledger.Unseen // ReplicaSets written
	loop        *reconcile.Loop
	written     reconcile.Written[*appsv1.Deployment]
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	depInf, setInf, podInf := f.Apps().V1().Deployments(), f.Apps().V1().ReplicaSets(), f.Core().V1().Pods()
	index.AddController(setInf.Informer())
	index.AddController(podInf.Informer())
	c := &Controller{
		client:      client,
		events:      events,
		deployments: depInf.Lister(),
		setLister:   setInf.Lister(),
		sets:        setInf.Informer().GetIndexer(),
		pods:        podInf.Informer().GetIndexer(),
	}
	c.loop = reconcile.New("deployment", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(depInf.Informer(), c.loop.Handler()),
		reconcile.Listen(depInf.Informer(), cache.ResourceEventHandlerFuncs{DeleteFunc: c.forget}),
		reconcile.Listen(setInf.Informer(), c.loop.HandlerFor(c.deploymentsOf)),
		reconcile.Listen(podInf.Informer(), c.podHandler()),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

// forget drops what is remembered of a Deployment that is gone.
func (c *Controller) forget(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if d, ok := obj.(*appsv1.Deployment); ok {
		c.unseen.Forget(d.UID)
	}
}

// deploymentsOf names the Deployments that an event about a ReplicaSet concerns: its controller, or for an orphan those that could adopt it.
func (c *Controller) deploymentsOf(obj any) []reconcile.Key {
	rs, ok := obj.(*appsv1.ReplicaSet)
	if !ok {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		if ref.Kind != Kind.Kind {
			return nil
		}
		return []reconcile.Key{{Namespace: rs.Namespace, Name: ref.Name}}
	}
	all, err := c.deployments.Deployments(rs.Namespace).List(labels.Everything())
	if err != nil {
		slog.Error("deployment: listing from the cache failed", "namespace", rs.Namespace, "err", err)
		return nil
	}
	var keys []reconcile.Key
	for _, d := range all {
		if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil && !s.Empty() && s.Matches(labels.Set(rs.Labels)) {
			keys = append(keys, reconcile.Key{Namespace: d.Namespace, Name: d.Name})
		}
	}
	return keys
}

// podHandler wakes a Deployment of the Recreate strategy when a Pod has ended, for which no ReplicaSet event is sure to come afterwards.
// For all others the ReplicaSets' status says enough.
func (c *Controller) podHandler() cache.ResourceEventHandler {
	wake := func(obj any) {
		if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = t.Obj
		}
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return
		}
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil {
			return
		}
		rs, err := c.setLister.ReplicaSets(pod.Namespace).Get(ref.Name)
		if err != nil || rs.UID != ref.UID {
			return
		}
		for _, key := range c.deploymentsOf(rs) {
			if d, err := c.deployments.Deployments(key.Namespace).Get(key.Name); err == nil && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
				c.loop.Enqueue(key)
			}
		}
	}
	return cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, obj any) {
			if was, is := old.(*corev1.Pod), obj.(*corev1.Pod); was.Status.Phase != is.Status.Phase {
				wake(is)
			}
		},
		DeleteFunc: wake,
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	d, err := c.deployments.Deployments(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		c.written.Forget(key)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	d = c.written.Later(d)
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("%s: spec.selector: %w", named(d), err)
	}
	version := c.sets.LastStoreSyncResourceVersion() // read before listing, so that the list is no older
	candidates := append(index.ControlledBy[*appsv1.ReplicaSet](c.sets, d.UID), index.Orphans[*appsv1.ReplicaSet](c.sets, d.Namespace)...)
	if wait, err := c.late(ctx, d, version, candidates); err != nil || wait {
		return reconcile.Result{After: lookAgain}, err
	}
	sets, err := claim.Settle(ctx, d, Kind, claim.Sort(d, selector, candidates),
		func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		},
		func(ctx context.Context, name string, patch []byte) (*appsv1.ReplicaSet, error) {
			return c.client.AppsV1().ReplicaSets(d.Namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		})
	if err != nil {
		return reconcile.Result{}, err
	}
	o := Observed{Deployment: d, Sets: sets, Now: time.Now()}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		o.Pods = map[types.UID][]*corev1.Pod{}
		for _, rs := range sets {
			o.Pods[rs.UID] = index.ControlledBy[*corev1.Pod](c.pods, rs.UID)
		}
	}
	a := Decide(o)
	if o.Pods != nil && a.starts(d) {
		if left, err := c.oldPodsLive(ctx, d, selector, sets); err != nil || left {
			return reconcile.Result{After: lookAgain}, err
		}
	}
	return reconcile.Result{After: a.Recheck}, c.act(ctx, d, a)
}

// oldPodsLive asks the API server whether Pods of another template are left. The cache of Pods says that there are none before this is asked; but it may be further behind
// than that of ReplicaSets, and not show one yet that was made a moment before its ReplicaSet was to have none.
func (c *Controller) oldPodsLive(ctx context.Context, d *appsv1.Deployment, selector labels.Selector, sets []*appsv1.ReplicaSet) (bool, error) {
	old := map[types.UID]bool{}
	for _, rs := range sets {
		if !sameTemplate(&d.Spec.Template, &rs.Spec.Template) {
			old[rs.UID] = true
		}
	}
	if len(old) == 0 {
		return false, nil
	}
	pods, err := c.client.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return false, fmt.Errorf("%s: finding out whether Pods of its old template are left: %w", named(d), err)
	}
	return slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool {
		ref := metav1.GetControllerOfNoCopy(&p)
		return ref != nil && old[ref.UID] && !podstate.Finished(&p)
	}), nil
}

// late says whether the cache does not show yet what was written of a Deployment's ReplicaSets: each is written as it was last seen or not at all, but how many
// Pods all of them may have together is decided by looking at all. What became of a write whose answer was lost is asked for.
func (c *Controller) late(ctx context.Context, d *appsv1.Deployment, version string, cached []*appsv1.ReplicaSet) (bool, error) {
	find := func(name string) (metav1.Object, bool) {
		i := slices.IndexFunc(cached, func(rs *appsv1.ReplicaSet) bool { return rs.Name == name })
		if i < 0 {
			return nil, false
		}
		return cached[i], true
	}
	ask, wait := c.unseen.Look(d.UID, version, find)
	if len(ask) == 0 {
		return wait, nil
	}
	for _, name := range ask {
		rs, err := c.client.AppsV1().ReplicaSets(d.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			c.unseen.Absent(d.UID, name)
		case err != nil:
			return false, fmt.Errorf("%s: finding out what became of its ReplicaSet %s: %w", named(d), name, err)
		default:
			c.unseen.Wrote(d.UID, name, rs.ResourceVersion)
		}
	}
	_, wait = c.unseen.Look(d.UID, version, find)
	return wait, nil
}

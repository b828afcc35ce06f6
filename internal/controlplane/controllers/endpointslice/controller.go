package endpointslice

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

const (
	// controllerName marks the slices this controller manages. It is upstream's name on purpose: tools look for it.
	controllerName = "endpointslice-controller.k8s.io"
	// maxPerSlice is upstream's default.
	maxPerSlice = 100
	workers     = 8
	// patience is how long the cache may lag behind this controller's own writes before the API server is asked. A cache that is read anew never shows what came and
	// went meanwhile, and a deletion may be seen before the answer to the write that it follows: then no event comes.
	patience = 5 * time.Second
)

// unsure is since when the cache lags behind a write whose answer was lost: it cannot be told whether it shows that.
var unsure time.Time

// Controller is the EndpointSlice controller.
type Controller struct {
	client   kubernetes.Interface
	events   record.EventRecorder
	services corelisters.ServiceLister
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
	slices   cache.Indexer
	synced   []cache.InformerSynced
	loop     *reconcile.Loop

	reconciler *endpointslice.Reconciler
	tracker    *endpointsliceutil.EndpointSliceTracker // which slice versions this controller wrote, so that it is not misled by a late cache
	topology   *topologycache.TopologyCache            // how the nodes' processors divide over zones
	triggers   *endpointsliceutil.TriggerTimeTracker   // when what led to a change happened
	waiting    sync.Map                                // by key, since when the cache lags, or unsure: looked at again with the next event of one of the Service's slices
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	svcInf, podInf, nodeInf, sliceInf := f.Core().V1().Services(), f.Core().V1().Pods(), f.Core().V1().Nodes(), f.Discovery().V1().EndpointSlices()
	index.AddSlices(sliceInf.Informer())
	c := &Controller{
		client:   client,
		events:   events,
		services: svcInf.Lister(),
		pods:     podInf.Lister(),
		nodes:    nodeInf.Lister(),
		slices:   sliceInf.Informer().GetIndexer(),
		tracker:  endpointsliceutil.NewEndpointSliceTracker(),
		topology: topologycache.NewTopologyCache(),
		triggers: endpointsliceutil.NewTriggerTimeTracker(),
	}
	c.reconciler = endpointslice.NewReconciler(client, c.nodes, maxPerSlice, c.tracker, c.topology, events, controllerName,
		endpointslice.WithPreferSameTrafficDistributionEnabled(true))
	c.loop = reconcile.New("endpointslice", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(svcInf.Informer(), c.loop.Handler()),
		reconcile.Listen(podInf.Informer(), c.podHandler()),
		reconcile.Listen(sliceInf.Informer(), c.sliceHandler()),
		reconcile.Listen(nodeInf.Informer(), c.nodeHandler()),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

// podHandler wakes the Services that a Pod change matters to; most changes of a Pod's status matter to none.
func (c *Controller) podHandler() cache.ResourceEventHandler {
	wake := func(old, obj any) {
		if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = t.Obj
		}
		names, err := endpointsliceutil.GetServicesToUpdate(c.services, endpointsliceutil.GetPodUpdateProjectionKey(old, obj))
		if err != nil {
			slog.Error("endpointslice: looking up the Services of a Pod failed", "err", err)
			return
		}
		for name := range names {
			if ns, n, err := cache.SplitMetaNamespaceKey(name); err == nil {
				c.loop.Enqueue(reconcile.Key{Namespace: ns, Name: n})
			}
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { wake(nil, obj) },
		UpdateFunc: wake,
		DeleteFunc: func(obj any) { wake(nil, obj) },
	}
}

// sliceHandler wakes the Service of a slice that somebody else changed or deleted, and Services that wait for their own writes to be seen.
func (c *Controller) sliceHandler() cache.ResourceEventHandler {
	wake := func(s *discoveryv1.EndpointSlice) {
		if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
			c.loop.Enqueue(reconcile.Key{Namespace: s.Namespace, Name: name})
		}
	}
	awaited := func(s *discoveryv1.EndpointSlice) bool {
		_, ok := c.waiting.Load(reconcile.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]})
		return ok
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if s := obj.(*discoveryv1.EndpointSlice); ours(s) && (c.tracker.ShouldSync(s) || awaited(s)) {
				wake(s)
			}
		},
		UpdateFunc: func(old, obj any) {
			was, is := old.(*discoveryv1.EndpointSlice), obj.(*discoveryv1.EndpointSlice)
			if !ours(was) && !ours(is) {
				return
			}
			if was.Labels[discoveryv1.LabelServiceName] != is.Labels[discoveryv1.LabelServiceName] || ours(was) != ours(is) {
				wake(was)
				wake(is)
			} else if is.DeletionTimestamp != nil && was.DeletionTimestamp == nil {
				c.tracker.HandleDeletion(is)
				wake(is)
			} else if c.tracker.ShouldSync(is) || awaited(is) {
				wake(is)
			}
		},
		DeleteFunc: func(obj any) {
			if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = t.Obj
			}
			s, ok := obj.(*discoveryv1.EndpointSlice)
			if !ok || !ours(s) {
				return
			}
			// HandleDeletion is true for a deletion that this controller asked for itself, and for slices that it has not written since it was started.
			if foreign := !c.tracker.Has(s) || !c.tracker.HandleDeletion(s); foreign || awaited(s) {
				wake(s)
			}
		},
	}
}

func ours(s *discoveryv1.EndpointSlice) bool {
	return s.Labels[discoveryv1.LabelManagedBy] == controllerName
}

// nodeHandler keeps the topology cache, and wakes the Services whose endpoints are on a node that appears or changes its zone.
func (c *Controller) nodeHandler() cache.ResourceEventHandler {
	refresh := func() {
		nodes, err := c.nodes.List(labels.Everything())
		if err != nil {
			slog.Error("endpointslice: listing nodes from the cache failed", "err", err)
			return
		}
		c.topology.SetNodes(klog.Background(), nodes)
	}
	wakeAll := func(obj any) {
		refresh()
		all, err := c.services.List(labels.Everything())
		if err != nil {
			slog.Error("endpointslice: listing Services from the cache failed", "err", err)
			return
		}
		for _, s := range all {
			c.loop.EnqueueObject(s)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		// A Pod on a node that the cache does not know yet is left out of the slices until the node appears.
		AddFunc: wakeAll,
		UpdateFunc: func(old, obj any) {
			was, is := old.(*corev1.Node), obj.(*corev1.Node)
			if was.Labels[corev1.LabelTopologyZone] != is.Labels[corev1.LabelTopologyZone] ||
				!was.Status.Allocatable.Cpu().Equal(*is.Status.Allocatable.Cpu()) || ready(was) != ready(is) {
				wakeAll(is)
			}
		},
		DeleteFunc: func(any) { refresh() },
	}
}

func ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	svc, err := c.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, c.removeSlices(ctx, key)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return reconcile.Result{}, c.removeSlices(ctx, key) // a name elsewhere has no endpoints here, though the Service may have had before
	}
	if svc.Spec.Selector == nil {
		return reconcile.Result{}, nil // its endpoints are written by somebody else
	}
	pods, err := c.pods.Pods(key.Namespace).List(labels.SelectorFromValidatedSet(svc.Spec.Selector))
	if err != nil {
		return reconcile.Result{}, err
	}
	// Marked before the slices are listed: an event that the list does not show yet will then find the mark.
	mark, _ := c.waiting.LoadOrStore(key, time.Now())
	since := mark.(time.Time)
	existing := c.slicesOf(key)
	if since == unsure || c.tracker.StaleSlices(svc, existing) {
		if left := patience - time.Since(since); left > 0 {
			return reconcile.Result{After: left}, nil // the event of this controller's last write brings the next call
		}
		if existing, err = c.readSlices(ctx, key); err != nil {
			return reconcile.Result{}, err
		}
		c.tracker.DeleteService(key.Namespace, key.Name)
		for _, s := range existing {
			c.tracker.Update(s)
		}
	}
	c.waiting.Delete(key)
	trigger := c.triggers.ComputeEndpointLastChangeTriggerTime(key.Namespace, svc, pods)
	if err := c.reconciler.Reconcile(klog.Background(), svc, pods, existing, trigger); err != nil {
		c.waiting.Store(key, unsure)
		return reconcile.Result{}, fmt.Errorf("writing the EndpointSlices of Service %s: %w", key, err)
	}
	return reconcile.Result{}, nil
}

// slicesOf are a Service's slices as the cache has them.
func (c *Controller) slicesOf(key reconcile.Key) []*discoveryv1.EndpointSlice {
	all := index.SlicesOf(c.slices, key.Namespace, key.Name)
	return lasting(slices.DeleteFunc(all, func(s *discoveryv1.EndpointSlice) bool { return !ours(s) }))
}

// readSlices are a Service's slices as the API server has them.
func (c *Controller) readSlices(ctx context.Context, key reconcile.Key) ([]*discoveryv1.EndpointSlice, error) {
	list, err := c.client.DiscoveryV1().EndpointSlices(key.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.FormatLabels(managed(key))})
	if err != nil {
		return nil, fmt.Errorf("reading the EndpointSlices of Service %s, since the cache does not show the last ones written: %w", key, err)
	}
	all := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	return lasting(all), nil
}

// managed are the labels of the slices that this controller keeps for a Service.
func managed(key reconcile.Key) labels.Set {
	return labels.Set{discoveryv1.LabelServiceName: key.Name, discoveryv1.LabelManagedBy: controllerName}
}

// lasting leaves out slices that go once their finalizers are through, since no endpoint may count on those. The order is fixed: of two slices with the same
// endpoint, as a lost answer leaves behind, two calls may not spare different ones.
func lasting(all []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	all = slices.DeleteFunc(all, func(s *discoveryv1.EndpointSlice) bool { return s.DeletionTimestamp != nil })
	slices.SortFunc(all, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// removeSlices deletes what a Service left behind. The garbage collector would do so too, by owner reference, but clients should stop
// being sent to the Service's Pods at once.
func (c *Controller) removeSlices(ctx context.Context, key reconcile.Key) error {
	c.waiting.Delete(key)
	c.triggers.DeleteService(key.Namespace, key.Name)
	c.reconciler.DeleteService(key.Namespace, key.Name)
	c.tracker.DeleteService(key.Namespace, key.Name)
	for _, s := range c.slicesOf(key) {
		err := c.client.DiscoveryV1().EndpointSlices(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &s.UID}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("EndpointSlice %s/%s: deleting it with its Service: %w", s.Namespace, s.Name, err)
		}
	}
	return nil
}

package resourcequota

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
	measures "github.com/gitopsd/gitopsd/internal/controlplane/quota"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

const (
	workers = 4
	// recount bounds how long a number stays too high that admission counted for something that was never stored.
	recount = 5 * time.Minute
	// gathered is how long new objects are gathered before a namespace is looked at once for all of them; admission's own count is there by then.
	gathered = time.Second
)

// Controller is the controller of ResourceQuotas.
type Controller struct {
	client     kubernetes.Interface
	inventory  *inventory.Inventory
	quotas     corelisters.ResourceQuotaLister
	evaluators []quota.Evaluator
	synced     []cache.InformerSynced
	// loop counts anew; added looks only whether something new is missing from the numbers.
	loop, added *reconcile.Loop
}

// New makes the controller, and registers what it wants to hear from f and from the inventory.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, inv *inventory.Inventory) *Controller {
	core := f.Core().V1()
	inf, pods, services, claims := core.ResourceQuotas(), core.Pods(), core.Services(), core.PersistentVolumeClaims()
	c := &Controller{
		client: client, inventory: inv, quotas: inf.Lister(),
		evaluators: measures.Configuration(measures.Lists{
			Pods: measures.Objects(func(ns string) ([]*corev1.Pod, error) { return pods.Lister().Pods(ns).List(labels.Everything()) }),
			Services: measures.Objects(func(ns string) ([]*corev1.Service, error) {
				return services.Lister().Services(ns).List(labels.Everything())
			}),
			Claims: measures.Objects(func(ns string) ([]*corev1.PersistentVolumeClaim, error) {
				return claims.Lister().PersistentVolumeClaims(ns).List(labels.Everything())
			}),
		}).Evaluators(),
	}
	c.loop = reconcile.New("resourcequota", func(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
		return reconcile.Result{After: recount}, c.reconcile(ctx, key, Status)
	})
	c.added = reconcile.New("resourcequota-added", func(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
		return reconcile.Result{}, c.reconcile(ctx, key, AtLeast)
	})
	c.synced = []cache.InformerSynced{
		reconcile.Listen(inf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: c.loop.EnqueueObject,
			UpdateFunc: func(old, obj any) {
				// Admission writes the status for each object it lets in; counting after each would undo that with what the caches know so far.
				if a, b := old.(*corev1.ResourceQuota), obj.(*corev1.ResourceQuota); !equality.Semantic.DeepEqual(a.Spec, b.Spec) {
					c.loop.EnqueueObject(obj)
				}
			},
		}),
		pods.Informer().HasSynced, services.Informer().HasSynced, claims.Informer().HasSynced,
	}
	inv.Listen(c.changed)
	return c
}

// changed has a namespace's quotas looked at: counted anew when something there may use less than before, and raised when something new is there. Admission has
// counted what is new, unless it did not know of the quota yet: it reads quotas from a watch, which can be behind the client that has just made one.
func (c *Controller) changed(e inventory.Event) {
	enqueue, namespace := c.loop.Enqueue, ""
	switch {
	case e.Old == nil:
		enqueue, namespace = func(k reconcile.Key) { c.added.EnqueueAfter(k, gathered) }, e.New.GetNamespace()
	case e.New == nil || frees(e):
		namespace = e.Old.GetNamespace()
	}
	if namespace == "" {
		return
	}
	quotas, err := c.quotas.ResourceQuotas(namespace).List(labels.Everything())
	if err != nil {
		return
	}
	for _, q := range quotas {
		enqueue(reconcile.Key{Namespace: namespace, Name: q.Name})
	}
}

// frees tells whether a change of an object can lower its usage.
func frees(e inventory.Event) bool {
	switch old := e.Old.(type) {
	case *corev1.Pod:
		pod, ok := e.New.(*corev1.Pod)
		return ok && (ended(pod) && !ended(old) || pod.DeletionTimestamp != nil && old.DeletionTimestamp == nil || !sameButNode(&pod.Spec, &old.Spec))
	case *corev1.Service:
		s, ok := e.New.(*corev1.Service)
		return ok && (s.Spec.Type != old.Spec.Type || len(s.Spec.Ports) != len(old.Spec.Ports))
	case *corev1.PersistentVolumeClaim:
		return true
	}
	return false
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// sameButNode tells that what a Pod may use has not changed: finding a node for it frees nothing. Counting anew for each Pod that is bound or starts would
// undo what admission has just counted for the next ones, which the caches do not show yet, and let in more than there is room for.
func sameButNode(a, b *corev1.PodSpec) bool {
	x := *a
	x.NodeName = b.NodeName
	return equality.Semantic.DeepEqual(&x, b)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) && c.inventory.Wait(ctx) {
		var loops sync.WaitGroup
		loops.Go(func() { c.added.Run(ctx, workers) })
		c.loop.Run(ctx, workers)
		loops.Wait()
	}
}

// measure is Status or AtLeast.
type measure func(*corev1.ResourceQuota, []quota.Evaluator, count) (corev1.ResourceQuotaStatus, bool, error)

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key, measure measure) error {
	q, err := c.quotas.ResourceQuotas(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	status, differs, err := measure(q, c.evaluators, func(gr schema.GroupResource) (int, bool) { return c.inventory.Count(gr, key.Namespace) })
	if differs {
		next := q.DeepCopy()
		next.Status = status
		if _, err := c.client.CoreV1().ResourceQuotas(key.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("status of ResourceQuota %s: %w", key, err)
		}
	}
	if err != nil {
		return fmt.Errorf("usage of ResourceQuota %s: %w", key, err)
	}
	return nil
}

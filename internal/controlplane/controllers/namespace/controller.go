package namespace

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-namespace"

const (
	workers = 8
	// lookAgain is when a Namespace is looked at although no deletion in it was announced: some resources cannot be watched, and a finalizer may
	// have been added to what was already being deleted.
	lookAgain = 15 * time.Second
)

// Controller is the namespace controller.
type Controller struct {
	client     kubernetes.Interface
	meta       metadata.Interface
	inventory  *inventory.Inventory
	namespaces corelisters.NamespaceLister
	synced     cache.InformerSynced
	loop       *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f and inv.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, m metadata.Interface, inv *inventory.Inventory) *Controller {
	inf := f.Core().V1().Namespaces()
	c := &Controller{client: client, meta: m, inventory: inv, namespaces: inf.Lister()}
	c.loop = reconcile.New("namespace", c.reconcile)
	c.synced = reconcile.Listen(inf.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: c.terminating,
		UpdateFunc: func(old, obj any) {
			// The conditions that this controller writes come back as changes too.
			was, is := old.(*corev1.Namespace), obj.(*corev1.Namespace)
			if was.DeletionTimestamp == nil || !slices.Equal(was.Spec.Finalizers, is.Spec.Finalizers) || !slices.Equal(was.Finalizers, is.Finalizers) {
				c.terminating(is)
			}
		},
	})
	inv.Listen(c.contentChanged)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced) && c.inventory.Wait(ctx) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) terminating(obj any) {
	if ns, ok := obj.(*corev1.Namespace); ok && ns.DeletionTimestamp != nil {
		c.loop.EnqueueObject(ns)
	}
}

// contentChanged wakes a terminating Namespace when the last object of a kind has gone from it.
func (c *Controller) contentChanged(e inventory.Event) {
	if e.New != nil || e.Old == nil || e.Old.GetNamespace() == "" {
		return
	}
	name := e.Old.GetNamespace()
	if ns, err := c.namespaces.Get(name); err != nil || ns.DeletionTimestamp == nil {
		return
	}
	if !c.inventory.Has(e.Resource, name) {
		c.loop.Enqueue(reconcile.Key{Name: name})
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	ns, err := c.namespaces.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return reconcile.Result{}, nil
	}
	a := Decide(ns, c.empty(ctx, ns.Name), time.Now())
	if a.Finalize {
		return reconcile.Result{}, c.finalize(ctx, ns)
	}
	return reconcile.Result{After: lookAgain}, c.writeConditions(ctx, ns, a.Conditions)
}

func (c *Controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	next := ns.DeepCopy()
	next.Spec.Finalizers = slices.DeleteFunc(next.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if _, err := c.client.CoreV1().Namespaces().Finalize(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing the finalizer of Namespace %s, now that it is empty: %w", ns.Name, err)
	}
	return nil
}

func (c *Controller) writeConditions(ctx context.Context, ns *corev1.Namespace, conditions []corev1.NamespaceCondition) error {
	if apiequality.Semantic.DeepEqual(ns.Status.Conditions, conditions) {
		return nil
	}
	next := ns.DeepCopy()
	next.Status.Conditions = conditions
	if _, err := c.client.CoreV1().Namespaces().UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing how the deletion of Namespace %s stands: %w", ns.Name, err)
	}
	return nil
}

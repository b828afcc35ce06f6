package apiserverendpoints

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-apiserverendpoints"

var theKey = reconcile.Key{Namespace: metav1.NamespaceDefault, Name: serviceName}

// Controller is the controller of the Service default/kubernetes.
type Controller struct {
	client     kubernetes.Interface
	desired    Desired
	namespaces corelisters.NamespaceLister
	services   corelisters.ServiceLister
	slices     discoverylisters.EndpointSliceLister
	synced     []cache.InformerSynced
	loop       *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, d Desired) *Controller {
	nsInf, svcInf, sliceInf := f.Core().V1().Namespaces(), f.Core().V1().Services(), f.Discovery().V1().EndpointSlices()
	c := &Controller{client: client, desired: d, namespaces: nsInf.Lister(), services: svcInf.Lister(), slices: sliceInf.Lister()}
	c.loop = reconcile.New("apiserverendpoints", c.reconcile)
	mine := func(obj any) []reconcile.Key {
		if m, ok := obj.(metav1.Object); ok && m.GetNamespace() == theKey.Namespace && m.GetName() == theKey.Name {
			return []reconcile.Key{theKey}
		}
		return nil
	}
	home := func(obj any) []reconcile.Key {
		if m, ok := obj.(metav1.Object); ok && m.GetName() == theKey.Namespace {
			return []reconcile.Key{theKey}
		}
		return nil
	}
	c.synced = []cache.InformerSynced{
		reconcile.Listen(nsInf.Informer(), c.loop.HandlerFor(home)),
		reconcile.Listen(svcInf.Informer(), c.loop.HandlerFor(mine)),
		reconcile.Listen(sliceInf.Informer(), c.loop.HandlerFor(mine)),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Enqueue(theKey)
		c.loop.Run(ctx, 1)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	var o Observed
	// On a new cluster the namespace is made at the same time; its appearance is an event that leads here again.
	_, err := c.namespaces.Get(key.Namespace)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if o.Service, err = c.services.Services(key.Namespace).Get(key.Name); err != nil {
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, err
		}
		o.Service = nil
	}
	if o.Slice, err = c.slices.EndpointSlices(key.Namespace).Get(key.Name); err != nil {
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, err
		}
		o.Slice = nil
	}
	return reconcile.Result{}, c.act(ctx, Decide(c.desired, o))
}

func (c *Controller) act(ctx context.Context, a Actions) error {
	services, slices := c.client.CoreV1().Services(theKey.Namespace), c.client.DiscoveryV1().EndpointSlices(theKey.Namespace)
	var errs []error
	note := func(what string, err error) {
		if err != nil && !apierrors.IsAlreadyExists(err) {
			errs = append(errs, fmt.Errorf("%s %s: %w", what, theKey, err))
		}
	}
	if a.CreateService != nil {
		_, err := services.Create(ctx, a.CreateService, metav1.CreateOptions{FieldManager: fieldManager})
		note("creating Service", err)
	}
	if a.UpdateService != nil {
		_, err := services.Update(ctx, a.UpdateService, metav1.UpdateOptions{FieldManager: fieldManager})
		note("updating Service", err)
	}
	if a.CreateSlice != nil {
		_, err := slices.Create(ctx, a.CreateSlice, metav1.CreateOptions{FieldManager: fieldManager})
		note("creating EndpointSlice", err)
	}
	if a.UpdateSlice != nil {
		_, err := slices.Update(ctx, a.UpdateSlice, metav1.UpdateOptions{FieldManager: fieldManager})
		note("updating EndpointSlice", err)
	}
	if a.DeleteSlice {
		note("deleting EndpointSlice", slices.Delete(ctx, theKey.Name, metav1.DeleteOptions{}))
	}
	return errors.Join(errs...)
}

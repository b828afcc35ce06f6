package endpoints

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-endpoints"

// workers are few: nothing waits for what this writes, and Pods that become ready must not.
const workers = 2

// Controller is the controller of Endpoints.
type Controller struct {
	client    kubernetes.Interface
	events    record.EventRecorder
	services  corelisters.ServiceLister
	endpoints corelisters.EndpointsLister
	slices    cache.Indexer
	synced    []cache.InformerSynced
	loop      *reconcile.Loop
	wrote     reconcile.Written[*corev1.Endpoints]
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	svcInf, endpointsInf, sliceInf := f.Core().V1().Services(), f.Core().V1().Endpoints(), f.Discovery().V1().EndpointSlices()
	index.AddSlices(sliceInf.Informer())
	c := &Controller{client: client, events: events, services: svcInf.Lister(), endpoints: endpointsInf.Lister(), slices: sliceInf.Informer().GetIndexer()}
	c.loop = reconcile.New("endpoints", c.reconcile)
	ofService := func(obj any) []reconcile.Key {
		s := obj.(*discoveryv1.EndpointSlice)
		if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
			return []reconcile.Key{{Namespace: s.Namespace, Name: name}}
		}
		return nil
	}
	c.synced = []cache.InformerSynced{
		reconcile.Listen(svcInf.Informer(), c.loop.Handler()),
		reconcile.Listen(endpointsInf.Informer(), c.loop.Handler()),
		reconcile.Listen(sliceInf.Informer(), c.loop.HandlerFor(ofService)),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	o, err := c.observe(key)
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, c.act(ctx, key, o, Decide(o))
}

func (c *Controller) observe(key reconcile.Key) (o Observed, err error) {
	if o.Service, err = c.services.Services(key.Namespace).Get(key.Name); err != nil {
		if !apierrors.IsNotFound(err) {
			return o, err
		}
		o.Service = nil
	}
	switch cached, err := c.endpoints.Endpoints(key.Namespace).Get(key.Name); {
	case err == nil:
		o.Endpoints = c.wrote.Later(cached)
	case !apierrors.IsNotFound(err):
		return o, err
	default:
		c.wrote.Forget(key)
	}
	o.Slices = index.SlicesOf(c.slices, key.Namespace, key.Name)
	return o, nil
}

func (c *Controller) act(ctx context.Context, key reconcile.Key, o Observed, a Actions) error {
	endpoints, slices := c.client.CoreV1().Endpoints(key.Namespace), c.client.DiscoveryV1().EndpointSlices(key.Namespace)
	var errs []error
	note := func(what string, err error) {
		if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) { // the Service goes too
			errs = append(errs, fmt.Errorf("%s of Service %s: %w", what, key, err))
		}
	}
	if a.CreateEndpoints != nil {
		made, err := endpoints.Create(ctx, a.CreateEndpoints, metav1.CreateOptions{FieldManager: fieldManager})
		if err == nil {
			c.wrote.Note(made)
		} else if !apierrors.IsAlreadyExists(err) { // the cache is late; what is there brings the next call
			note("creating the Endpoints", err)
		}
	}
	if a.UpdateEndpoints != nil {
		made, err := endpoints.Update(ctx, a.UpdateEndpoints, metav1.UpdateOptions{FieldManager: fieldManager})
		if err == nil {
			c.wrote.Note(made)
		}
		note("updating the Endpoints", err)
	}
	if a.DeleteEndpoints {
		err := endpoints.Delete(ctx, key.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &o.Endpoints.UID}})
		note("deleting the Endpoints", ignoreGone(err))
	}
	for _, s := range a.CreateSlices {
		_, err := slices.Create(ctx, s, metav1.CreateOptions{FieldManager: fieldManager})
		note("mirroring the Endpoints", err)
	}
	for _, s := range a.UpdateSlices {
		_, err := slices.Update(ctx, s, metav1.UpdateOptions{FieldManager: fieldManager})
		note("mirroring the Endpoints to EndpointSlice "+s.Name, err)
	}
	for _, s := range a.DeleteSlices {
		err := slices.Delete(ctx, s.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &s.UID}})
		note("deleting EndpointSlice "+s.Name+", which mirrors nothing any more,", ignoreGone(err))
	}
	for _, w := range a.Warnings {
		c.events.Event(o.Endpoints, corev1.EventTypeWarning, w.Reason, w.Message)
	}
	return errors.Join(errs...)
}

// ignoreGone passes over that an object is gone, or is another one by now.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

package servicecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-servicecidr"

// Controller looks after ServiceCIDRs and IPAddresses.
type Controller struct {
	client    kubernetes.Interface
	events    record.EventRecorder
	own       []netip.Prefix
	cidrs     networkinglisters.ServiceCIDRLister
	addresses networkinglisters.IPAddressLister
	services  corelisters.ServiceLister
	synced    []cache.InformerSynced

	ranges *reconcile.Loop // by the name of a ServiceCIDR
	given  *reconcile.Loop // by the name of an IPAddress, which may be nobody's
	robbed *reconcile.Loop // by the name of a Service, which may have lost one
}

// New makes the controller and registers what it wants to hear from f. own are the ranges that the cluster starts with.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, own []netip.Prefix) *Controller {
	cidrs, addresses, services := f.Networking().V1().ServiceCIDRs(), f.Networking().V1().IPAddresses(), f.Core().V1().Services()
	c := &Controller{client: client, events: events, own: own, cidrs: cidrs.Lister(), addresses: addresses.Lister(), services: services.Lister()}
	c.ranges = reconcile.New("servicecidr", c.reconcileRange)
	c.given = reconcile.New("servicecidr-given", c.reconcileGiven)
	c.robbed = reconcile.New("servicecidr-robbed", c.reconcileRobbed)
	c.synced = []cache.InformerSynced{
		// What one ServiceCIDR has, another that goes need not keep.
		reconcile.Listen(cidrs.Informer(), c.ranges.HandlerFor(func(obj any) []reconcile.Key { return append(c.leaving(), keyOf(obj)...) })),
		reconcile.Listen(addresses.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: c.given.EnqueueObject,
			DeleteFunc: func(obj any) {
				for _, key := range c.leaving() {
					c.ranges.Enqueue(key)
				}
				for _, key := range holderOf(obj) {
					c.robbed.Enqueue(key)
				}
			},
		}),
		services.Informer().HasSynced,
	}
	return c
}

func keyOf(obj any) []reconcile.Key {
	if m, ok := obj.(metav1.Object); ok {
		return []reconcile.Key{{Name: m.GetName()}}
	}
	return nil
}

func holderOf(obj any) []reconcile.Key {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if a, ok := obj.(*networkingv1.IPAddress); ok && clusterip.Managed(a) {
		if h, ok := clusterip.HeldBy(a); ok {
			return []reconcile.Key{{Namespace: h.Namespace, Name: h.Name}}
		}
	}
	return nil
}

// leaving are the ServiceCIDRs that are being deleted.
func (c *Controller) leaving() []reconcile.Key {
	all, _ := c.cidrs.List(labels.Everything()) // of a cache, which cannot fail
	var out []reconcile.Key
	for _, cidr := range all {
		if cidr.DeletionTimestamp != nil {
			out = append(out, reconcile.Key{Name: cidr.Name})
		}
	}
	return out
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	done := make(chan struct{})
	loops := []*reconcile.Loop{c.ranges, c.given, c.robbed}
	for _, l := range loops {
		go func() { l.Run(ctx, 1); done <- struct{}{} }()
	}
	for range loops {
		<-done
	}
}

func (c *Controller) reconcileRange(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	cidr, err := c.cidrs.Get(key.Name)
	if apierrors.IsNotFound(err) {
		if key.Name == clusterip.DefaultName {
			err = c.restore(ctx)
		} else {
			err = nil
		}
	}
	if err != nil || cidr == nil {
		return reconcile.Result{}, err
	}
	others, err := c.cidrs.List(labels.Everything())
	if err != nil {
		return reconcile.Result{}, err
	}
	var addresses []*networkingv1.IPAddress
	if cidr.DeletionTimestamp != nil {
		// As they are now: no address is given out of a ServiceCIDR that is being deleted, so none can come after this.
		list, err := c.client.NetworkingV1().IPAddresses().List(ctx, metav1.ListOptions{})
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("the ServiceCIDR %s: looking for addresses of it that are in use: %w", cidr.Name, err)
		}
		for i := range list.Items {
			addresses = append(addresses, &list.Items[i])
		}
	}
	return reconcile.Result{}, c.act(ctx, cidr, Decide(cidr, others, addresses))
}

func (c *Controller) restore(ctx context.Context) error {
	_, err := c.client.NetworkingV1().ServiceCIDRs().Create(ctx, clusterip.Default(c.own), metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating ServiceCIDR %s: %w", clusterip.DefaultName, err)
	}
	return nil
}

func (c *Controller) act(ctx context.Context, cidr *networkingv1.ServiceCIDR, a Actions) error {
	all := c.client.NetworkingV1().ServiceCIDRs()
	next := cidr.DeepCopy()
	var err error
	switch {
	case a.Keep:
		next.Finalizers = append(next.Finalizers, clusterip.Finalizer)
	case a.LetGo:
		next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == clusterip.Finalizer })
	}
	if a.Keep || a.LetGo {
		if next, err = all.Update(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return gone(err, "ServiceCIDR %s: its finalizer: %w", cidr.Name)
		}
	}
	if a.Condition != nil && meta.SetStatusCondition(&next.Status.Conditions, *a.Condition) {
		if _, err = all.UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return gone(err, "ServiceCIDR %s: its status: %w", cidr.Name)
		}
	}
	return nil
}

// gone wraps an error, but that what is gone needs nothing.
func gone(err error, format, name string) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf(format, name, err)
}

// reconcileGiven frees an address that nobody has.
func (c *Controller) reconcileGiven(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	a, err := c.addresses.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	service, err := c.holder(a)
	if err != nil {
		return reconcile.Result{}, err
	}
	spare, wait := Spare(a, service, time.Now())
	if !spare {
		return reconcile.Result{After: wait}, nil
	}
	err = c.client.NetworkingV1().IPAddresses().Delete(ctx, a.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(a.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("freeing cluster IP %s, which no Service has: %w", a.Name, err)
	}
	return reconcile.Result{}, nil
}

func (c *Controller) holder(a *networkingv1.IPAddress) (*corev1.Service, error) {
	h, ok := clusterip.HeldBy(a)
	if !ok {
		return nil, nil
	}
	s, err := c.services.Services(h.Namespace).Get(h.Name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return s, err
}

// reconcileRobbed gives a Service back the IPAddress that somebody deleted. What Services there are is asked for as it is now: mostly, this one has just been deleted.
func (c *Controller) reconcileRobbed(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	s, err := c.client.CoreV1().Services(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, ip := range clusterip.Of(s) {
		_, err := c.client.NetworkingV1().IPAddresses().Get(ctx, ip.String(), metav1.GetOptions{})
		if err == nil {
			continue
		}
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, err
		}
		_, err = c.client.NetworkingV1().IPAddresses().Create(ctx, clusterip.Claim(ip, clusterip.HolderOf(s)), metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return reconcile.Result{}, fmt.Errorf("claiming cluster IP %s for Service %s again: %w", ip, key, err)
		}
		c.events.Eventf(s, corev1.EventTypeWarning, "ClusterIPNotAllocated", "The IPAddress of cluster IP %s was missing, and has been created again", ip)
	}
	return reconcile.Result{}, nil
}

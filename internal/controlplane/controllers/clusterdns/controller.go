package clusterdns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/dns/corefile"
	"github.com/gitopsd/gitopsd/internal/dns/records"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-clusterdns"

// reasonInvalid is the reason of the Event at a ConfigMap that is not understood.
const reasonInvalid = "InvalidDNSConfig"

var theKey = reconcile.Key{Namespace: records.ServiceNamespace, Name: records.ServiceName}

// Controller is the controller of the Service kube-system/kube-dns.
type Controller struct {
	client     kubernetes.Interface
	events     record.EventRecorder
	ip         netip.Addr
	domain     string
	namespaces corelisters.NamespaceLister
	services   corelisters.ServiceLister
	configs    corelisters.ConfigMapLister
	synced     []cache.InformerSynced
	loop       *reconcile.Loop
	// complained is the version of the ConfigMap that was complained about: once is enough.
	complained string
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, ip netip.Addr, domain string) *Controller {
	nsInf, svcInf, cmInf := f.Core().V1().Namespaces(), f.Core().V1().Services(), f.Core().V1().ConfigMaps()
	c := &Controller{client: client, events: events, ip: ip, domain: domain, namespaces: nsInf.Lister(), services: svcInf.Lister(), configs: cmInf.Lister()}
	c.loop = reconcile.New("clusterdns", c.reconcile)
	named := func(namespace, name string) cache.ResourceEventHandler {
		return c.loop.HandlerFor(func(obj any) []reconcile.Key {
			if m, ok := obj.(metav1.Object); ok && m.GetNamespace() == namespace && m.GetName() == name {
				return []reconcile.Key{theKey}
			}
			return nil
		})
	}
	c.synced = []cache.InformerSynced{
		reconcile.Listen(nsInf.Informer(), named("", theKey.Namespace)),
		reconcile.Listen(svcInf.Informer(), named(theKey.Namespace, theKey.Name)),
		reconcile.Listen(cmInf.Informer(), named(corefile.ConfigMapNamespace, corefile.ConfigMapName)),
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
	// On a new cluster the namespace is made at the same time; its appearance is an event that leads here again.
	if _, err := c.namespaces.Get(key.Namespace); err != nil {
		return reconcile.Result{}, ignoreNotFound(err)
	}
	var o Observed
	var err error
	if o.Service, err = c.services.Services(key.Namespace).Get(key.Name); ignoreNotFound(err) != nil {
		return reconcile.Result{}, err
	} else if err != nil {
		o.Service = nil
	}
	if o.ConfigMap, err = c.configs.ConfigMaps(corefile.ConfigMapNamespace).Get(corefile.ConfigMapName); ignoreNotFound(err) != nil {
		return reconcile.Result{}, err
	} else if err != nil {
		o.ConfigMap = nil
	}
	return reconcile.Result{}, c.act(ctx, o, Decide(c.ip, c.domain, o))
}

// taken says whether another Service has the address. One that was deleted a moment ago holds it for an instant more, which is no reason to move.
func (c *Controller) taken() bool {
	all, err := c.services.List(labels.Everything())
	return err == nil && slices.ContainsFunc(all, func(s *corev1.Service) bool {
		return (s.Namespace != theKey.Namespace || s.Name != theKey.Name) && slices.Contains(s.Spec.ClusterIPs, c.ip.String())
	})
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *Controller) act(ctx context.Context, o Observed, a Actions) error {
	if a.Complaint != "" && o.ConfigMap.ResourceVersion != c.complained {
		c.complained = o.ConfigMap.ResourceVersion
		c.events.Event(o.ConfigMap, corev1.EventTypeWarning, reasonInvalid, a.Complaint)
	}
	services := c.client.CoreV1().Services(theKey.Namespace)
	if a.Create != nil {
		_, err := services.Create(ctx, a.Create, metav1.CreateOptions{FieldManager: fieldManager})
		if apierrors.IsInvalid(err) && c.taken() {
			// A Service of before this one has the address. Nodes answer at any that the Service is given.
			a.Create.Spec.ClusterIP = ""
			_, err = services.Create(ctx, a.Create, metav1.CreateOptions{FieldManager: fieldManager})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating Service %s: %w", theKey, err)
		}
	}
	if a.Update != nil {
		if _, err := services.Update(ctx, a.Update, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return fmt.Errorf("updating Service %s: %w", theKey, err)
		}
	}
	return nil
}

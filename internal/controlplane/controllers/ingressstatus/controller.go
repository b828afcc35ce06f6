package ingressstatus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/ingress/translate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-ingressstatus"

const (
	// settle is how long a new Ingress' objects, which come at the same time, have to come before anything is said to be missing.
	settle = 2 * time.Second
	// pause is between two looks at everything.
	pause = 200 * time.Millisecond
)

var theKey = reconcile.Key{Name: translate.ClassName}

// Controller is the controller of Ingresses' statuses and Events.
type Controller struct {
	client    kubernetes.Interface
	events    record.EventRecorder
	classes   networkinglisters.IngressClassLister
	ingresses networkinglisters.IngressLister
	services  corelisters.ServiceLister
	secrets   corelisters.SecretLister
	nodes     corelisters.NodeLister
	synced    []cache.InformerSynced
	loop      *reconcile.Loop

	// told are complaints that were made, and first when each was found. Only the loop uses them.
	told map[complaint]bool
	seen map[complaint]time.Time

	mu    sync.Mutex
	named map[string]bool // Services and Secrets that Ingresses name: kind/namespace/name
}

type complaint struct {
	ingress types.UID
	message string
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	classes, ingresses := f.Networking().V1().IngressClasses(), f.Networking().V1().Ingresses()
	services, secrets, nodes := f.Core().V1().Services(), f.Core().V1().Secrets(), f.Core().V1().Nodes()
	c := &Controller{
		client: client, events: events, classes: classes.Lister(), ingresses: ingresses.Lister(), services: services.Lister(), secrets: secrets.Lister(), nodes: nodes.Lister(),
		told: map[complaint]bool{}, seen: map[complaint]time.Time{}, named: map[string]bool{},
	}
	c.loop = reconcile.New("ingressstatus", c.reconcile)
	all := c.loop.HandlerFor(func(any) []reconcile.Key { return []reconcile.Key{theKey} })
	c.synced = []cache.InformerSynced{
		reconcile.Listen(classes.Informer(), all),
		reconcile.Listen(ingresses.Informer(), all),
		reconcile.Listen(services.Informer(), c.ifNamed("service")),
		reconcile.Listen(secrets.Informer(), c.ifNamed("secret")),
		reconcile.Listen(nodes.Informer(), c.ifItServesOtherwise()),
	}
	return c
}

// ifNamed is for objects of which most are named by no Ingress.
func (c *Controller) ifNamed(kind string) cache.ResourceEventHandler {
	return c.loop.HandlerFor(func(obj any) []reconcile.Key {
		m, ok := obj.(metav1.Object)
		if !ok {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.named[kind+"/"+m.GetNamespace()+"/"+m.GetName()] {
			return []reconcile.Key{theKey}
		}
		return nil
	})
}

// ifItServesOtherwise is for Nodes, which change all the time in other ways.
func (c *Controller) ifItServesOtherwise() cache.ResourceEventHandler {
	enqueue := func(any) { c.loop.Enqueue(theKey) }
	return cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, DeleteFunc: enqueue,
		UpdateFunc: func(old, obj any) {
			was, ok1 := old.(*corev1.Node)
			is, ok2 := obj.(*corev1.Node)
			if ok1 && ok2 && !apiequality.Semantic.DeepEqual(addresses([]*corev1.Node{was}), addresses([]*corev1.Node{is})) {
				c.loop.Enqueue(theKey)
			}
		},
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Enqueue(theKey)
		c.loop.Run(ctx, 1)
	}
}

func (c *Controller) reconcile(ctx context.Context, _ reconcile.Key) (reconcile.Result, error) {
	// However many objects come at once, they are looked at together.
	select {
	case <-ctx.Done():
		return reconcile.Result{}, nil
	case <-time.After(pause):
	}
	cl, nodes, err := c.observe()
	if err != nil {
		return reconcile.Result{}, err
	}
	a := Decide(cl, nodes)
	again := c.complain(a.Complaints, time.Now())
	return reconcile.Result{After: again}, c.act(ctx, a)
}

func (c *Controller) observe() (translate.Cluster, []*corev1.Node, error) {
	classes, err1 := c.classes.List(labels.Everything())
	ingresses, err2 := c.ingresses.List(labels.Everything())
	nodes, err3 := c.nodes.List(labels.Everything())
	if err := errors.Join(err1, err2, err3); err != nil {
		return translate.Cluster{}, nil, err
	}
	named := map[string]bool{}
	for _, ing := range ingresses {
		for _, name := range translate.Services(ing) {
			named["service/"+ing.Namespace+"/"+name] = true
		}
		for _, name := range translate.Secrets(ing) {
			named["secret/"+ing.Namespace+"/"+name] = true
		}
	}
	c.mu.Lock()
	c.named = named // before they are looked at: what changes from here on leads here again
	c.mu.Unlock()
	return translate.Cluster{
		Classes: classes, Ingresses: ingresses,
		Service: func(name string) *corev1.Service {
			ns, short := split(name)
			svc, err := c.services.Services(ns).Get(short)
			if err != nil {
				return nil
			}
			return svc
		},
		// Whether a Service has endpoints is not for an Event: it changes all the time.
		Slices: func(string) []*discoveryv1.EndpointSlice { return nil },
		Secret: func(name string) translate.Secret {
			ns, short := split(name)
			secret, err := c.secrets.Secrets(ns).Get(short)
			if err != nil {
				return translate.Secret{}
			}
			return translate.Secret{Object: secret}
		},
	}, nodes, nil
}

func split(name string) (namespace, short string) {
	namespace, short, err := cache.SplitMetaNamespaceKey(name)
	if err != nil {
		return "", ""
	}
	return namespace, short
}

// complain tells what has been wrong for a while and was not told yet, and forgets what is so no more. It returns when to look again.
func (c *Controller) complain(list []translate.Complaint, now time.Time) (again time.Duration) {
	seen := map[complaint]time.Time{}
	for _, p := range list {
		k := complaint{p.Ingress.UID, p.Message}
		since, ok := c.seen[k]
		if !ok {
			since = now
		}
		seen[k] = since
		switch age := now.Sub(since); {
		case c.told[k]:
		case age >= settle:
			c.told[k] = true
			c.events.Event(p.Ingress, corev1.EventTypeWarning, p.Reason, p.Message)
		default:
			again = max(again, settle-age)
		}
	}
	c.seen = seen
	for k := range c.told {
		if _, still := seen[k]; !still {
			delete(c.told, k)
		}
	}
	return again
}

func (c *Controller) act(ctx context.Context, a Actions) error {
	if a.Class != nil {
		if _, err := c.client.NetworkingV1().IngressClasses().Create(ctx, a.Class, metav1.CreateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating IngressClass %s: %w", a.Class.Name, err)
		}
	}
	var errs []error
	for _, ing := range a.Status {
		if err := c.write(ctx, ing); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) write(ctx context.Context, ing *networkingv1.Ingress) error {
	_, err := c.client.NetworkingV1().Ingresses(ing.Namespace).UpdateStatus(ctx, ing, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the status of Ingress %s/%s: %w", ing.Namespace, ing.Name, err)
	}
	return nil
}

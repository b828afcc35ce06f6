package loadbalancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-loadbalancer"

// theKey is the only one: a port that one Service gives up is another's.
var theKey = reconcile.Key{Name: "all"}

// Config is the part of the command line that is about load balancers.
type Config struct {
	// Pools are ranges of addresses that Services are given one of each; none: Services are reached at the nodes' own addresses.
	Pools []netip.Prefix
	// Others says that Services without a class are somebody else's, such as a cloud's controller.
	Others bool
}

// Controller is the controller of load balancers.
type Controller struct {
	cfg      Config
	client   kubernetes.Interface
	events   record.EventRecorder
	services corelisters.ServiceLister
	nodes    corelisters.NodeLister
	slices   cache.Indexer
	synced   []cache.InformerSynced
	loop     *reconcile.Loop

	// told are complaints that were made; only the loop uses them.
	told map[complaint]bool
}

type complaint struct {
	service types.UID
	text    string
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, cfg Config) *Controller {
	services, nodes, slices := f.Core().V1().Services(), f.Core().V1().Nodes(), f.Discovery().V1().EndpointSlices()
	index.AddSlices(slices.Informer())
	c := &Controller{
		cfg: cfg, client: client, events: events, services: services.Lister(), nodes: nodes.Lister(), slices: slices.Informer().GetIndexer(), told: map[complaint]bool{},
	}
	c.loop = reconcile.New("loadbalancer", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(services.Informer(), c.loop.HandlerFor(ifItHasPorts)),
		reconcile.Listen(nodes.Informer(), c.ifItServesOtherwise()),
		reconcile.Listen(slices.Informer(), c.loop.HandlerFor(c.ifLocal)),
	}
	return c
}

// ifItHasPorts is for Services, most of which concern no load balancer: those that are one or have been, and those whose node ports may be in one's way.
func ifItHasPorts(obj any) []reconcile.Key {
	s, ok := obj.(*corev1.Service)
	if !ok || s.Spec.Type != corev1.ServiceTypeLoadBalancer && s.Spec.Type != corev1.ServiceTypeNodePort && len(s.Status.LoadBalancer.Ingress) == 0 {
		return nil
	}
	return []reconcile.Key{theKey}
}

// ifLocal is for EndpointSlices: they matter for Services that are served only where their endpoints are.
func (c *Controller) ifLocal(obj any) []reconcile.Key {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil
	}
	svc, err := c.services.Services(s.Namespace).Get(s.Labels[discoveryv1.LabelServiceName])
	if err != nil || svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil
	}
	return []reconcile.Key{theKey}
}

// ifItServesOtherwise is for Nodes, which change all the time in other ways.
func (c *Controller) ifItServesOtherwise() cache.ResourceEventHandler {
	enqueue := func(any) { c.loop.Enqueue(theKey) }
	return cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, DeleteFunc: enqueue,
		UpdateFunc: func(old, obj any) {
			was, ok1 := old.(*corev1.Node)
			is, ok2 := obj.(*corev1.Node)
			if ok1 && ok2 && (serves(was) != serves(is) || was.Annotations[annIngressPorts] != is.Annotations[annIngressPorts] || !apiequality.Semantic.DeepEqual(was.Status.Addresses, is.Status.Addresses)) {
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
	services, err1 := c.services.List(labels.Everything())
	nodes, err2 := c.nodes.List(labels.Everything())
	if err := errors.Join(err1, err2); err != nil {
		return reconcile.Result{}, err
	}
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	a := Decide(World{Services: services, Nodes: nodes, Hosts: c.hosts, Pools: c.cfg.Pools, Others: c.cfg.Others})
	c.complain(a.Pending)
	failed := map[types.UID]bool{}
	var errs []error
	for _, s := range a.Status {
		if _, err := c.client.CoreV1().Services(s.Namespace).UpdateStatus(ctx, s, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			failed[s.UID] = true
			if !apierrors.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("writing the status of Service %s/%s: %w", s.Namespace, s.Name, err))
			}
		}
	}
	for _, m := range a.Given {
		if !failed[m.Service.UID] {
			c.events.Event(m.Service, corev1.EventTypeNormal, ReasonGiven, m.Text)
		}
	}
	return reconcile.Result{}, errors.Join(errs...)
}

// hosts are the nodes that have a ready endpoint of a Service.
func (c *Controller) hosts(s *corev1.Service) map[string]bool {
	out := map[string]bool{}
	for _, slice := range index.SlicesOf(c.slices, s.Namespace, s.Name) {
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; e.NodeName != nil && ptr.Deref(e.Conditions.Ready, true) {
				out[*e.NodeName] = true
			}
		}
	}
	return out
}

// complain tells what was not told yet, and forgets what is so no more.
func (c *Controller) complain(list []Message) {
	now := map[complaint]bool{}
	for _, m := range list {
		k := complaint{m.Service.UID, m.Text}
		now[k] = true
		if !c.told[k] {
			c.events.Event(m.Service, corev1.EventTypeWarning, ReasonPending, m.Text)
		}
	}
	c.told = now
}

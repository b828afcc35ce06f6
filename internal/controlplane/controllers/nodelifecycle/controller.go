package nodelifecycle

import (
	"context"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-nodelifecycle"

// DefaultGrace is how long a Node may be silent by default. Nodes renew their Lease every ten seconds: three renewals may be lost.
const DefaultGrace = 40 * time.Second

const workers = 4

// Controller is the node lifecycle controller.
type Controller struct {
	client kubernetes.Interface
	events record.EventRecorder
	grace  time.Duration
	nodes  corelisters.NodeLister
	pods   cache.Indexer
	synced []cache.InformerSynced
	loop   *reconcile.Loop

	mu    sync.Mutex
	life  map[string]*vitals // by node name
	zones *zones
}

// vitals is what was seen of one Node. All of it is about this process's own observations; a restart begins anew.
type vitals struct {
	renewed   time.Time // Lease.spec.renewTime; compared for change only
	reported  time.Time // heartbeat of the Ready condition; compared for change only
	heartbeat time.Time // when one of the two last changed, by this process's clock
	taintSeen map[string]time.Time
	ready     bool
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, grace time.Duration, rates Rates) *Controller {
	nodeInf, podInf, leaseInf := f.Core().V1().Nodes(), f.Core().V1().Pods(), f.Coordination().V1().Leases()
	index.AddNode(podInf.Informer())
	c := &Controller{
		client: client,
		events: events,
		grace:  grace,
		nodes:  nodeInf.Lister(),
		pods:   podInf.Informer().GetIndexer(),
		life:   map[string]*vitals{},
		zones:  newZones(rates, grace),
	}
	c.loop = reconcile.New("nodelifecycle", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(nodeInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { c.nodeSeen(obj.(*corev1.Node)) },
			UpdateFunc: func(_, obj any) { c.nodeSeen(obj.(*corev1.Node)) },
			DeleteFunc: c.nodeGone,
		}),
		reconcile.Listen(leaseInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { c.leaseSeen(obj.(*coordinationv1.Lease)) },
			UpdateFunc: func(_, obj any) { c.leaseSeen(obj.(*coordinationv1.Lease)) },
		}),
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

// vitalsOf returns what is known of a Node, which begins to live when it is first asked for. c.mu is held.
func (c *Controller) vitalsOf(name string) *vitals {
	v := c.life[name]
	if v == nil {
		v = &vitals{heartbeat: time.Now(), taintSeen: map[string]time.Time{}}
		c.life[name] = v
	}
	return v
}

func (c *Controller) nodeSeen(n *corev1.Node) {
	c.mu.Lock()
	v := c.vitalsOf(n.Name)
	ready := find(n.Status.Conditions, corev1.NodeReady)
	if ready != nil && !ready.LastHeartbeatTime.Time.Equal(v.reported) && ready.Reason != reasonNever {
		v.reported, v.heartbeat = ready.LastHeartbeatTime.Time, time.Now()
	}
	seen := map[string]time.Time{}
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		seen[t.Key] = time.Now()
		if at, ok := v.taintSeen[t.Key]; ok {
			seen[t.Key] = at
		}
	}
	v.taintSeen = seen
	v.ready = ready != nil && ready.Status == corev1.ConditionTrue
	if c.zones.see(n, time.Now()) {
		c.wakeLost()
	}
	c.mu.Unlock()
	c.loop.EnqueueObject(n)
}

func (c *Controller) nodeGone(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if n, ok := obj.(*corev1.Node); ok {
		c.mu.Lock()
		delete(c.life, n.Name)
		if c.zones.forget(n.Name, time.Now()) {
			c.wakeLost()
		}
		c.mu.Unlock()
	}
}

// wakeLost looks again at the Nodes that are not ready, since what may be done to them has changed. c.mu is held.
func (c *Controller) wakeLost() {
	for name, v := range c.life {
		if !v.ready {
			c.loop.Enqueue(reconcile.Key{Name: name})
		}
	}
}

// leaseSeen notes a sign of life. Only a Node that had been given up, or was about to be, is looked at for it: renewals are the most frequent of all writes.
func (c *Controller) leaseSeen(l *coordinationv1.Lease) {
	if l.Namespace != corev1.NamespaceNodeLease || l.Spec.RenewTime == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.vitalsOf(l.Name)
	if v.renewed.Equal(l.Spec.RenewTime.Time) {
		return
	}
	v.renewed, v.heartbeat = l.Spec.RenewTime.Time, time.Now()
	if !v.ready {
		c.loop.Enqueue(reconcile.Key{Name: l.Name})
	}
}

// podHandler looks at the Node of a Pod that has just been bound to it, or tolerates more than before: the Node may be tainted, or silent.
func (c *Controller) podHandler() cache.ResourceEventHandler {
	wake := func(p *corev1.Pod) {
		n, err := c.nodes.Get(p.Spec.NodeName)
		if err == nil && len(n.Spec.Taints) > 0 {
			c.loop.EnqueueObject(n)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { wake(obj.(*corev1.Pod)) },
		UpdateFunc: func(old, obj any) {
			was, is := old.(*corev1.Pod), obj.(*corev1.Pod)
			if was.Spec.NodeName != is.Spec.NodeName || len(was.Spec.Tolerations) != len(is.Spec.Tolerations) {
				wake(is)
			}
		},
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	n, err := c.nodes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	o := Observed{Node: n, Pods: index.OnNode(c.pods, n.Name), Grace: c.grace, Now: time.Now()}
	c.mu.Lock()
	v := c.vitalsOf(n.Name)
	o.Heartbeat, o.TaintSeen = v.heartbeat, v.taintSeen // the map is replaced, never changed
	o.Total = c.zones.total
	c.mu.Unlock()
	a := Decide(o)
	if a.AwaitsTurn {
		a = c.decideAtTurn(o, a)
	}
	if len(a.Conditions) > 0 {
		slog.Warn("node is silent", "node", n.Name, "since", o.Heartbeat.Format(time.RFC3339), "grace", c.grace)
	}
	return reconcile.Result{After: a.Recheck}, c.act(ctx, n, a)
}

// decideAtTurn decides again if it is the Node's turn, and otherwise puts off when to look again. A Node whose condition has yet to be written gets its turn
// when that is seen: the whole zone may be about to be found lost.
func (c *Controller) decideAtTurn(o Observed, without Actions) Actions {
	c.mu.Lock()
	at, ok := c.zones.turn(o.Node.Name, o.Now)
	c.mu.Unlock()
	switch {
	case !ok:
		return without
	case !at.After(o.Now):
		o.Turn = true
		return Decide(o)
	}
	if wait := at.Sub(o.Now); without.Recheck == 0 || wait < without.Recheck {
		without.Recheck = wait
	}
	return without
}

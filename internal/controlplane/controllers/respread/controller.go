package respread

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

const (
	// refusedPause is how long a budget that allows nothing now is left in peace. Its own changes are not awaited: it may allow something and take it back many times a second.
	refusedPause = 10 * time.Second
	// movingTime bounds how long a workload that does not get its Pod back, because it was made smaller meanwhile, counts as on the move.
	movingTime = 2 * time.Minute
)

// Controller moves Pods. There is one thing to look at, the cluster: all events lead to one key.
type Controller struct {
	client kubernetes.Interface
	events record.EventRecorder
	config profile.Config
	pace   Pace
	world  world
	pods   cache.Indexer
	synced []cache.InformerSynced
	loop   *reconcile.Loop

	mu     sync.Mutex
	usable map[string]time.Time // since when each node takes Pods, by this process's clock; those that do not are not in it

	moving map[snapshot.Workload]moving // used by the one worker only
}

// moving is a workload of which a Pod has been evicted.
type moving struct {
	pod      types.UID
	replicas int
	since    time.Time
}

// asking names the index of the Pods that opted in.
const asking = "spread-again"

// theCluster is the one key.
var theCluster = reconcile.Key{Name: "cluster"}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, config profile.Config, pace Pace) *Controller {
	nodeInf, podInf := f.Core().V1().Nodes(), f.Core().V1().Pods()
	index.AddChosen(podInf.Informer(), asking, Asks)
	c := &Controller{
		client: client, events: events, config: config, pace: pace, world: newWorld(f),
		pods: podInf.Informer().GetIndexer(), usable: map[string]time.Time{}, moving: map[snapshot.Workload]moving{},
	}
	c.loop = reconcile.New("respread", c.reconcile)
	wake := func(obj any) []reconcile.Key {
		if p, ok := obj.(*corev1.Pod); ok && Asks(p) {
			c.loop.EnqueueAfter(theCluster, pace.Pause)
		}
		return nil
	}
	c.synced = append(c.world.synced,
		reconcile.Listen(nodeInf.Informer(), cache.ResourceEventHandlerDetailedFuncs{
			AddFunc:    func(obj any, initial bool) { c.nodeSeen(obj.(*corev1.Node), initial, time.Now()) },
			UpdateFunc: func(_, obj any) { c.nodeSeen(obj.(*corev1.Node), false, time.Now()) },
			DeleteFunc: c.nodeGone,
		}),
		reconcile.Listen(podInf.Informer(), c.loop.HandlerFor(wake)),
	)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, 1)
	}
}

// nodeSeen notes since when a node takes Pods. That it came is believed to its own clock only if it happened before this process saw any.
func (c *Controller) nodeSeen(n *corev1.Node, initial bool, now time.Time) {
	ready, ok := usable(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok {
		delete(c.usable, n.Name)
		return
	}
	if _, known := c.usable[n.Name]; known {
		return
	}
	c.usable[n.Name] = now
	if initial && ready.Before(now) {
		c.usable[n.Name] = ready
	}
	c.loop.Enqueue(theCluster)
}

func (c *Controller) nodeGone(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if n, ok := obj.(*corev1.Node); ok {
		c.mu.Lock()
		delete(c.usable, n.Name)
		c.mu.Unlock()
	}
}

// usable says whether a node takes Pods, and since when it says that it is ready. Its taints are for the filters to judge.
func usable(n *corev1.Node) (since time.Time, ok bool) {
	if n.Spec.Unschedulable || n.DeletionTimestamp != nil {
		return time.Time{}, false
	}
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			return cond.LastTransitionTime.Time, cond.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

func (c *Controller) reconcile(ctx context.Context, _ reconcile.Key) (reconcile.Result, error) {
	o := Observed{
		Pods: index.Chosen(c.pods, asking), Moving: map[snapshot.Workload]int{},
		Config: c.config, Pace: c.pace, Snapshot: c.world.snapshot, Now: time.Now(),
	}
	if len(o.Pods) == 0 {
		return reconcile.Result{}, nil
	}
	c.mu.Lock()
	o.Usable = maps.Clone(c.usable)
	c.mu.Unlock()
	recheck := c.arrived(&o)
	a := Decide(o)
	var errs []error
	soonest := func(d time.Duration) {
		if d > 0 && (recheck == 0 || d < recheck) {
			recheck = d
		}
	}
	soonest(a.Recheck)
	for _, m := range a.Evict {
		again, err := c.evict(ctx, m)
		soonest(again)
		errs = append(errs, err)
	}
	return reconcile.Result{After: recheck}, errors.Join(errs...)
}

// arrived forgets the moves whose Pod is gone and replaced, notes the others in o, and says when one of them is given up.
func (c *Controller) arrived(o *Observed) (next time.Duration) {
	replicas, there := map[snapshot.Workload]int{}, map[types.UID]bool{}
	for _, p := range o.Pods {
		if podstate.Active(p) {
			replicas[snapshot.NewPod(p).Workload]++
			there[p.UID] = true
		}
	}
	for w, m := range c.moving {
		left := m.since.Add(movingTime).Sub(o.Now)
		if left <= 0 || !there[m.pod] && replicas[w] >= m.replicas {
			delete(c.moving, w)
			continue
		}
		o.Moving[w] = m.replicas
		if next == 0 || left < next {
			next = left
		}
	}
	return next
}

// evict asks for a Pod to go, and says when to ask again if a budget does not allow it now.
func (c *Controller) evict(ctx context.Context, m Move) (again time.Duration, err error) {
	p := m.Pod
	c.moving[m.Workload] = moving{p.UID, m.Replicas, time.Now()}
	err = c.client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}},
	})
	switch {
	case err == nil:
		c.events.Eventf(p, corev1.EventTypeNormal, "SpreadAgain", "Evicted from %s: the scheduler would now place it on %s, and its workload asks for that", p.Spec.NodeName, m.To)
		return 0, nil
	case apierrors.IsTooManyRequests(err):
		delete(c.moving, m.Workload)
		return refusedPause, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return 0, nil // it went by itself
	case ctx.Err() != nil:
		return 0, nil
	}
	return 0, fmt.Errorf("evicting Pod %s/%s from node %s so that it may be placed on %s: %w", p.Namespace, p.Name, p.Spec.NodeName, m.To, err)
}

package replicaset

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claim"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-replicaset"

const (
	workers = 8
	// lookAgain bounds how long a created Pod may stay out of the cache without any event before the ledger is looked at again.
	lookAgain = 5 * time.Second
)

// Controller keeps the Pods of one kind of workload.
type Controller struct {
	client   kubernetes.Interface
	events   record.EventRecorder
	sets     workload
	setIndex cache.Indexer
	pods     cache.Indexer
	synced   []cache.InformerSynced
	ledger   ledger.Ledger
	loop     *reconcile.Loop
}

// New makes the controller of ReplicaSets and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	sets, inf := replicaSetsOf(client, f)
	return newController(client, f, events, sets, inf)
}

// NewForReplicationControllers makes the controller of ReplicationControllers.
func NewForReplicationControllers(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	sets, inf := replicationControllersOf(client, f)
	return newController(client, f, events, sets, inf)
}

func newController(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, sets workload, setInf cache.SharedIndexInformer) *Controller {
	podInf := f.Core().V1().Pods()
	index.AddController(setInf)
	index.AddController(podInf.Informer())
	c := &Controller{
		client:   client,
		events:   events,
		sets:     sets,
		setIndex: setInf.GetIndexer(),
		pods:     podInf.Informer().GetIndexer(),
	}
	c.loop = reconcile.New(loopName(sets), c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(setInf, c.loop.Handler()),
		reconcile.Listen(podInf.Informer(), c.loop.HandlerFor(c.setsOf)),
		reconcile.Listen(setInf, cache.ResourceEventHandlerFuncs{DeleteFunc: c.forget}),
	}
	return c
}

// forget drops what the ledger holds about a ReplicaSet that is gone.
func (c *Controller) forget(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if rs, ok := c.sets.shown(obj); ok {
		c.ledger.Forget(rs.UID)
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

// setsOf names the ReplicaSets that an event about a Pod concerns: its controller, or for an orphan those that could adopt it.
func (c *Controller) setsOf(obj any) []reconcile.Key {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if ref.Kind != c.sets.kind().Kind {
			return nil
		}
		return []reconcile.Key{{Namespace: pod.Namespace, Name: ref.Name}}
	}
	sets, err := c.sets.list(pod.Namespace)
	if err != nil {
		slog.Error(loopName(c.sets)+": listing from the cache failed", "namespace", pod.Namespace, "err", err)
		return nil
	}
	var keys []reconcile.Key
	for _, rs := range sets {
		if s, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector); err == nil && !s.Empty() && s.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, reconcile.Key{Namespace: rs.Namespace, Name: rs.Name})
		}
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	rs, err := c.sets.get(key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	o, err := c.observe(ctx, rs)
	if err != nil {
		return reconcile.Result{}, err
	}
	a := Decide(o)
	failure, actErr := c.act(ctx, rs, a)
	if a.Create > 0 && actErr == nil {
		// The new Pods' own events bring the next pass within milliseconds, and it will know what to write; until then the status would only
		// say what is no longer true.
		return reconcile.Result{After: lookAgain}, nil
	}
	recheck, statusErr := c.writeStatus(ctx, o, failure)
	if o.Open.Creating > 0 && (recheck == 0 || recheck > lookAgain) {
		recheck = lookAgain
	}
	return reconcile.Result{After: recheck}, cmp.Or(actErr, statusErr)
}

func (c *Controller) observe(ctx context.Context, rs *appsv1.ReplicaSet) (Observed, error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return Observed{}, fmt.Errorf("%s %s/%s: spec.selector: %w", c.sets.kind().Kind, rs.Namespace, rs.Name, err)
	}
	version := c.pods.LastStoreSyncResourceVersion()
	own := index.ControlledBy[*corev1.Pod](c.pods, rs.UID)
	byName := sync.OnceValue(func() map[string]*corev1.Pod { // seldom needed: mostly nothing is open
		m := make(map[string]*corev1.Pod, len(own))
		for _, p := range own {
			m[p.Name] = p
		}
		return m
	})
	open := c.ledger.Look(rs.UID, version, func(name string) (metav1.Object, bool) { p, ok := byName()[name]; return p, ok })

	pods, err := claim.Settle(ctx, rs, c.sets.kind(),
		claim.Sort(rs, selector, append(own, index.Orphans[*corev1.Pod](c.pods, rs.Namespace)...)),
		func(ctx context.Context) (metav1.Object, error) {
			return c.sets.read(ctx, rs.Namespace, rs.Name)
		},
		func(ctx context.Context, name string, patch []byte) (*corev1.Pod, error) {
			return c.client.CoreV1().Pods(rs.Namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		})
	if err != nil {
		return Observed{}, err
	}
	return Observed{ReplicaSet: rs, Pods: pods, Open: open, Neighbours: c.neighbours(rs, pods), Now: time.Now()}, nil
}

// neighbours counts, per node, the active Pods of all ReplicaSets of the same Deployment. A scale-down of one of them then leaves the
// Deployment as a whole spread.
func (c *Controller) neighbours(rs *appsv1.ReplicaSet, own []*corev1.Pod) map[string]int {
	counts := map[string]int{}
	count := func(pods []*corev1.Pod) {
		for _, p := range pods {
			if podstate.Active(p) && p.Spec.NodeName != "" {
				counts[p.Spec.NodeName]++
			}
		}
	}
	count(own)
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		for _, sibling := range index.ControlledBy[*appsv1.ReplicaSet](c.setIndex, ref.UID) {
			if sibling.UID != rs.UID {
				count(index.ControlledBy[*corev1.Pod](c.pods, sibling.UID))
			}
		}
	}
	return counts
}

func (c *Controller) writeStatus(ctx context.Context, o Observed, failure *Failure) (time.Duration, error) {
	next, recheck := NextStatus(o, failure)
	if apiequality.Semantic.DeepEqual(o.ReplicaSet.Status, next) {
		return recheck, nil
	}
	rs := o.ReplicaSet.DeepCopy()
	rs.Status = next
	err := c.sets.writeStatus(ctx, rs)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return recheck, fmt.Errorf("%s %s/%s: writing its status: %w", c.sets.kind().Kind, rs.Namespace, rs.Name, err)
	}
	return recheck, nil
}

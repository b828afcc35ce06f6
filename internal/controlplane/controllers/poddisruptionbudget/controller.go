package poddisruptionbudget

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-poddisruptionbudget"

const (
	workers      = 4
	staleWorkers = 1
	// lookAgain is when a budget that could not be worked out is looked at again: what was missing may come without an event of a Pod.
	lookAgain = 30 * time.Second
)

// Controller is the controller of PodDisruptionBudgets.
type Controller struct {
	client  kubernetes.Interface
	events  record.EventRecorder
	budgets policylisters.PodDisruptionBudgetLister
	pods    corelisters.PodLister
	owners  *owners
	synced  []cache.InformerSynced
	loop    *reconcile.Loop
	stale   *reconcile.Loop // of Pods
}

// New makes the controller and registers what it wants to hear from f. Scales, kinds and d find the size of workloads of any kind.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, scales scale.ScalesGetter, kinds meta.RESTMapper, d discovery.DiscoveryInterface) *Controller {
	inf, podInf := f.Policy().V1().PodDisruptionBudgets(), f.Core().V1().Pods()
	c := &Controller{
		client: client, events: events, budgets: inf.Lister(), pods: podInf.Lister(), owners: newOwners(f, scales, kinds, d),
	}
	c.loop = reconcile.New("poddisruptionbudget", c.reconcile)
	c.stale = reconcile.New("poddisruptionbudget-stale", c.takeBack)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(inf.Informer(), c.loop.Handler()),
		reconcile.Listen(podInf.Informer(), c.loop.HandlerFor(c.budgetsOf)),
		reconcile.Listen(podInf.Informer(), c.stale.HandlerFor(announced)),
		f.Apps().V1().Deployments().Informer().HasSynced, f.Apps().V1().ReplicaSets().Informer().HasSynced,
		f.Apps().V1().StatefulSets().Informer().HasSynced, f.Core().V1().ReplicationControllers().Informer().HasSynced,
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	done := make(chan struct{})
	go func() { c.stale.Run(ctx, staleWorkers); close(done) }()
	c.loop.Run(ctx, workers)
	<-done
}

// budgetsOf names the budgets that select a Pod.
func (c *Controller) budgetsOf(obj any) []reconcile.Key {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil
	}
	all, err := c.budgets.PodDisruptionBudgets(pod.Namespace).List(labels.Everything())
	if err != nil {
		slog.Error("poddisruptionbudget: listing from the cache failed", "namespace", pod.Namespace, "err", err)
		return nil
	}
	var keys []reconcile.Key
	for _, pdb := range all {
		if s, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector); err == nil && s.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, reconcile.Key{Namespace: pdb.Namespace, Name: pdb.Name})
		}
	}
	return keys
}

// announced names a Pod whose disruption has been announced.
func announced(obj any) []reconcile.Key {
	if pod, ok := obj.(*corev1.Pod); ok && podstate.Condition(pod, corev1.DisruptionTarget) != nil {
		return []reconcile.Key{{Namespace: pod.Namespace, Name: pod.Name}}
	}
	return nil
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	pdb, err := c.budgets.PodDisruptionBudgets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	o, v, failure := c.decide(ctx, pdb)
	if failure != nil {
		c.events.Eventf(pdb, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", failure)
		v = Failed(o, failure)
		v.Recheck = lookAgain
	}
	if err := c.write(ctx, pdb, v.Status); err != nil {
		return reconcile.Result{}, err
	}
	for _, e := range v.Events {
		c.tell(o, e)
	}
	return reconcile.Result{After: v.Recheck}, nil
}

func (c *Controller) decide(ctx context.Context, pdb *policyv1.PodDisruptionBudget) (Observed, Verdict, error) {
	o := Observed{PDB: pdb, Now: time.Now()}
	selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
	if err != nil {
		return o, Verdict{}, fmt.Errorf("spec.selector: %w", err)
	}
	if o.Pods, err = c.pods.Pods(pdb.Namespace).List(selector); err != nil {
		return o, Verdict{}, err
	}
	if CountsOwners(pdb) {
		if o.Scale, o.Unmanaged, err = c.owners.total(ctx, o.Pods); err != nil {
			return o, Verdict{}, err
		}
	}
	v, err := Decide(o)
	return o, v, err
}

// write reports. A Conflict means that an eviction has taken from the budget, or the budget has changed: the next look is at what there is then.
func (c *Controller) write(ctx context.Context, pdb *policyv1.PodDisruptionBudget, status policyv1.PodDisruptionBudgetStatus) error {
	if apiequality.Semantic.DeepEqual(pdb.Status, status) {
		return nil
	}
	next := pdb.DeepCopy()
	next.Status = status
	_, err := c.client.PolicyV1().PodDisruptionBudgets(pdb.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("the PodDisruptionBudget %s/%s: writing its status: %w", pdb.Namespace, pdb.Name, err)
	}
	return nil
}

func (c *Controller) tell(o Observed, e Event) {
	if e.Pod == "" {
		c.events.Event(o.PDB, e.Type, e.Reason, e.Message)
		return
	}
	for _, p := range o.Pods {
		if p.Name == e.Pod {
			c.events.Event(p, e.Type, e.Reason, e.Message)
		}
	}
}

// takeBack says of a Pod that it is not going to be disrupted after all.
func (c *Controller) takeBack(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	pod, err := c.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	left, ok := stale(pod, time.Now())
	if !ok || left > 0 {
		return reconcile.Result{After: left}, nil
	}
	next := pod.DeepCopy()
	cond := podstate.Condition(next, corev1.DisruptionTarget)
	*cond = corev1.PodCondition{Type: cond.Type, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now(), ObservedGeneration: pod.Generation}
	_, err = c.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("the Pod %s: taking back the condition %s, since nobody has deleted the Pod: %w", key, corev1.DisruptionTarget, err)
	}
	return reconcile.Result{}, nil
}

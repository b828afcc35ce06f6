package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	autoscalinglisters "k8s.io/client-go/listers/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-horizontalpodautoscaler"

const (
	workers = 5
	// period is the time between two looks: metrics are asked for, nobody announces them.
	period = 15 * time.Second
	// lookAgain is when an autoscaler is looked at whose last status the cache does not show yet.
	lookAgain = time.Second
	// scaleTries bounds how often a scale that somebody else writes at the same time is written.
	scaleTries = 5
)

// source takes readings; tests have one that needs no adapter.
type source interface {
	read(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, spec *autoscalingv2.MetricSpec, pods labels.Selector) Reading
	run(ctx context.Context)
}

// Controller is the controller of HorizontalPodAutoscalers.
type Controller struct {
	client  kubernetes.Interface
	events  record.EventRecorder
	hpas    autoscalinglisters.HorizontalPodAutoscalerLister
	pods    corelisters.PodLister
	scales  scale.ScalesGetter
	kinds   meta.RESTMapper
	metrics source
	synced  []cache.InformerSynced
	written ledger.Written
	loop    *reconcile.Loop

	mu        sync.Mutex
	histories map[reconcile.Key]History
	selectors map[reconcile.Key]labels.Selector // of each autoscaler's target, to find two of the same Pods
}

// New makes the controller and registers what it wants to hear from f. Scales and kinds find what an autoscaler points at.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, scales scale.ScalesGetter, kinds meta.RESTMapper, m *Metrics) *Controller {
	return newController(client, f, events, scales, kinds, m)
}

func newController(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, scales scale.ScalesGetter, kinds meta.RESTMapper, m source) *Controller {
	inf, podInf := f.Autoscaling().V2().HorizontalPodAutoscalers(), f.Core().V1().Pods()
	c := &Controller{
		client: client, events: events, hpas: inf.Lister(), pods: podInf.Lister(), scales: scales, kinds: kinds, metrics: m,
		histories: map[reconcile.Key]History{}, selectors: map[reconcile.Key]labels.Selector{},
	}
	c.loop = reconcile.New("horizontalpodautoscaler", c.reconcile)
	c.synced = []cache.InformerSynced{
		// A change of the status is this controller's own, and no reason to look.
		reconcile.Listen(inf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: c.loop.EnqueueObject,
			UpdateFunc: func(old, obj any) {
				if was, ok := old.(metav1.Object); ok && was.GetGeneration() != obj.(metav1.Object).GetGeneration() {
					c.loop.EnqueueObject(obj)
				}
			},
			DeleteFunc: c.forget,
		}),
		podInf.Informer().HasSynced,
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	done := make(chan struct{})
	go func() { c.metrics.run(ctx); close(done) }()
	c.loop.Run(ctx, workers)
	<-done
}

func (c *Controller) forget(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if hpa, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler); ok {
		c.written.Forget(hpa.UID)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.histories, keyOf(hpa))
		delete(c.selectors, keyOf(hpa))
	}
}

func keyOf(hpa *autoscalingv2.HorizontalPodAutoscaler) reconcile.Key {
	return reconcile.Key{Namespace: hpa.Namespace, Name: hpa.Name}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	hpa, err := c.hpas.HorizontalPodAutoscalers(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if c.written.NewerThan(hpa) {
		return reconcile.Result{After: lookAgain}, nil
	}
	o, resource, err := c.observe(ctx, hpa)
	var a Actions
	if err != nil {
		a = Unscalable(hpa, err, time.Now())
	} else {
		a = Decide(o)
		if a.Rescale {
			a.Rescaled(o, c.rescale(ctx, hpa, resource, o.Scale, a.Replicas))
		}
		c.remember(hpa, a.History)
	}
	if err := c.writeStatus(ctx, hpa, a); err != nil {
		return reconcile.Result{}, err
	}
	if a.Failure != nil {
		slog.Debug("an autoscaler cannot work as it should", "autoscaler", key.String(), "err", a.Failure)
	}
	return reconcile.Result{After: period}, nil
}

// observe reads the scale, and what is measured as far as it matters. The error is about the scale.
func (c *Controller) observe(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler) (Observed, schema.GroupResource, error) {
	s, resource, err := c.target(ctx, hpa)
	if err != nil {
		return Observed{}, resource, err
	}
	c.mu.Lock()
	o := Observed{HPA: hpa, Scale: s, History: c.histories[keyOf(hpa)], Now: time.Now()}
	c.mu.Unlock()
	if !NeedsMetrics(hpa, s.Spec.Replicas) {
		return o, resource, nil
	}
	selector, problem := c.choosePods(hpa, &o)
	if o.Problem = problem; problem != nil {
		return o, resource, nil
	}
	o.Readings = make([]Reading, len(hpa.Spec.Metrics))
	for i := range hpa.Spec.Metrics {
		o.Readings[i] = c.metrics.read(ctx, hpa, &hpa.Spec.Metrics[i], selector)
	}
	return o, resource, nil
}

// target reads the scale of what an autoscaler points at, from the API server: a size that somebody has just set must not be taken back.
func (c *Controller) target(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv1.Scale, schema.GroupResource, error) {
	ref := hpa.Spec.ScaleTargetRef
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, schema.GroupResource{}, fmt.Errorf("spec.scaleTargetRef.apiVersion: %w", err)
	}
	mappings, err := c.kinds.RESTMappings(schema.GroupKind{Group: gv.Group, Kind: ref.Kind})
	if err != nil {
		return nil, schema.GroupResource{}, err
	}
	var first error
	for _, m := range mappings {
		gr := m.Resource.GroupResource()
		s, err := c.scales.Scales(hpa.Namespace).Get(ctx, gr, ref.Name, metav1.GetOptions{})
		if err == nil {
			return s, gr, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = fmt.Errorf("unrecognized resource: no %s in %q", ref.Kind, ref.APIVersion)
	}
	return nil, schema.GroupResource{}, first
}

// choosePods finds the target's Pods, and whether another autoscaler has them too: two would pull in two directions.
func (c *Controller) choosePods(hpa *autoscalingv2.HorizontalPodAutoscaler, o *Observed) (labels.Selector, *Problem) {
	text := o.Scale.Status.Selector
	if text == "" {
		return nil, &Problem{Event: "SelectorRequired", Reason: "InvalidSelector", Message: "the HPA target's scale is missing a selector", Err: errors.New("selector is required")}
	}
	selector, err := labels.Parse(text)
	if err != nil {
		err = fmt.Errorf("couldn't convert selector into a corresponding internal selector object: %w", err)
		return nil, &Problem{Event: "InvalidSelector", Reason: "InvalidSelector", Message: err.Error(), Err: err}
	}
	if o.Pods, err = c.pods.Pods(hpa.Namespace).List(selector); err != nil {
		return nil, &Problem{Reason: "InvalidSelector", Message: err.Error(), Err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.selectors[keyOf(hpa)] = selector
	for key, other := range c.selectors {
		if key.Namespace != hpa.Namespace || key.Name == hpa.Name {
			continue
		}
		for _, p := range o.Pods {
			if other.Matches(labels.Set(p.Labels)) {
				err := fmt.Errorf("pods by selector %v are controlled by more than one HPA (e.g. %s and %s)", text, hpa.Name, key.Name)
				return nil, &Problem{Event: "AmbiguousSelector", Reason: "AmbiguousSelector", Message: err.Error(), Err: err}
			}
		}
	}
	return selector, nil
}

// rescale sets the size. When somebody else has changed the object meanwhile it is tried again, unless the size itself is another by now: the decision was
// about that one.
func (c *Controller) rescale(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, gr schema.GroupResource, s *autoscalingv1.Scale, n int32) error {
	scales := c.scales.Scales(hpa.Namespace)
	for try := 1; ; try++ {
		next := s.DeepCopy()
		next.Spec.Replicas = n
		_, err := scales.Update(ctx, gr, next, metav1.UpdateOptions{FieldManager: fieldManager})
		if !apierrors.IsConflict(err) || try == scaleTries {
			return err
		}
		fresh, getErr := scales.Get(ctx, gr, s.Name, metav1.GetOptions{})
		if getErr != nil || fresh.Spec.Replicas != s.Spec.Replicas {
			return err
		}
		s = fresh
	}
}

// remember keeps the history, unless the autoscaler has been deleted meanwhile.
func (c *Controller) remember(hpa *autoscalingv2.HorizontalPodAutoscaler, h History) {
	if now, err := c.hpas.HorizontalPodAutoscalers(hpa.Namespace).Get(hpa.Name); err != nil || now.UID != hpa.UID {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.histories[keyOf(hpa)] = h
}

func (c *Controller) writeStatus(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, a Actions) error {
	for _, e := range a.Events {
		c.events.Event(hpa, e.Type, e.Reason, e.Message)
	}
	if apiequality.Semantic.DeepEqual(hpa.Status, a.Status) {
		return nil
	}
	next := hpa.DeepCopy()
	next.Status = a.Status
	got, err := c.client.AutoscalingV2().HorizontalPodAutoscalers(hpa.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		c.written.Wrote(hpa.UID, got.ResourceVersion)
	case !apierrors.IsNotFound(err):
		c.events.Event(hpa, corev1.EventTypeWarning, "FailedUpdateStatus", err.Error())
		return fmt.Errorf("the HorizontalPodAutoscaler %s/%s: writing its status: %w", hpa.Namespace, hpa.Name, err)
	}
	return nil
}

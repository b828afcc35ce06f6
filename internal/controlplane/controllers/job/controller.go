package job

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claim"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-job"

const (
	workers       = 8
	orphanWorkers = 2
	// lookAgain bounds how long a write may stay out of the caches without any event before they are looked at again.
	lookAgain = 5 * time.Second
)

// Controller is the controller of Jobs.
type Controller struct {
	client   kubernetes.Interface
	events   record.EventRecorder
	jobs     batchlisters.JobLister
	pods     cache.Indexer
	synced   []cache.InformerSynced
	ledger   ledger.Ledger
	written  ledger.Written // statuses
	released releases
	loop     *reconcile.Loop
	orphans  *reconcile.Loop
	clock    func() time.Time
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	jobInf, podInf := f.Batch().V1().Jobs(), f.Core().V1().Pods()
	index.AddController(podInf.Informer())
	c := &Controller{
		client: client, events: events, jobs: jobInf.Lister(), pods: podInf.Informer().GetIndexer(),
		clock: time.Now,
	}
	c.loop = reconcile.New("job", c.reconcile)
	c.orphans = reconcile.New("job-orphans", c.releaseOrphan)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(jobInf.Informer(), c.loop.Handler()),
		reconcile.Listen(podInf.Informer(), c.loop.HandlerFor(c.jobsOf)),
		reconcile.Listen(podInf.Informer(), c.orphans.HandlerFor(c.orphanOf)),
		reconcile.Listen(jobInf.Informer(), c.orphans.HandlerFor(c.orphansOf)),
		reconcile.Listen(jobInf.Informer(), cache.ResourceEventHandlerFuncs{DeleteFunc: c.forget}),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	done := make(chan struct{})
	go func() { c.orphans.Run(ctx, orphanWorkers); close(done) }()
	c.loop.Run(ctx, workers)
	<-done
}

// forget drops what is remembered about a Job that is gone.
func (c *Controller) forget(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if job, ok := obj.(*batchv1.Job); ok {
		c.ledger.Forget(job.UID)
		c.written.Forget(job.UID)
		c.released.forget(job.UID)
	}
}

// jobsOf names the Jobs that an event about a Pod concerns: its controller, or for an orphan those that could adopt it.
func (c *Controller) jobsOf(obj any) []reconcile.Key {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if ref.Kind != kind.Kind {
			return nil
		}
		return []reconcile.Key{{Namespace: pod.Namespace, Name: ref.Name}}
	}
	var keys []reconcile.Key
	for _, job := range c.selecting(pod) {
		keys = append(keys, reconcile.Key{Namespace: job.Namespace, Name: job.Name})
	}
	return keys
}

// selecting are the Jobs that could adopt a Pod.
func (c *Controller) selecting(pod *corev1.Pod) []*batchv1.Job {
	jobs, err := c.jobs.Jobs(pod.Namespace).List(labels.Everything())
	if err != nil {
		slog.Error("job: listing from the cache failed", "namespace", pod.Namespace, "err", err)
		return nil
	}
	var out []*batchv1.Job
	for _, job := range jobs {
		s, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
		if err == nil && !s.Empty() && s.Matches(labels.Set(pod.Labels)) && !Finished(job) && job.DeletionTimestamp == nil && ours(job) {
			out = append(out, job)
		}
	}
	return out
}

// ours says that no other controller has been named for a Job.
func ours(job *batchv1.Job) bool {
	return job.Spec.ManagedBy == nil || *job.Spec.ManagedBy == batchv1.JobControllerName
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	job, err := c.jobs.Jobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil || Finished(job) || !ours(job) {
		return reconcile.Result{}, err
	}
	if c.written.NewerThan(job) {
		return reconcile.Result{After: lookAgain}, nil // a Pod that the status written last names may be gone already: by this copy of the Job it would be missing
	}
	o, err := c.observe(ctx, job)
	if err != nil {
		return reconcile.Result{}, err
	}
	a := Decide(o)
	done, actErr := c.act(ctx, job, a)
	switch statusErr := c.writeStatus(ctx, job, a, done); {
	case apierrors.IsNotFound(statusErr):
		return reconcile.Result{}, nil // deleted: its Pods are orphans now
	case statusErr != nil:
		return reconcile.Result{}, cmp.Or(actErr, statusErr)
	}
	releaseErr := c.release(ctx, job, a.Release)
	after := a.Recheck
	if (o.Open.Creating > 0 || len(o.Open.Deleting) > 0 || len(o.Released) > 0) && (after == 0 || after > lookAgain) {
		after = lookAgain
	}
	return reconcile.Result{After: after}, cmp.Or(actErr, releaseErr)
}

func (c *Controller) observe(ctx context.Context, job *batchv1.Job) (Observed, error) {
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return Observed{}, fmt.Errorf("the Job %s/%s: spec.selector: %w", job.Namespace, job.Name, err)
	}
	version := c.pods.LastStoreSyncResourceVersion()
	own := index.ControlledBy[*corev1.Pod](c.pods, job.UID)
	byName := make(map[string]*corev1.Pod, len(own))
	for _, p := range own {
		byName[p.Name] = p
	}
	open := c.ledger.Look(job.UID, version, func(name string) (metav1.Object, bool) { p, ok := byName[name]; return p, ok })
	released := c.released.unseen(job.UID, own)

	s := claim.Sort(job, selector, append(own, index.Orphans[*corev1.Pod](c.pods, job.Namespace)...))
	adopt := map[string]bool{}
	for _, p := range s.Adopt {
		adopt[p.Name] = true
	}
	pods, err := claim.Settle(ctx, job, kind, s,
		func(ctx context.Context) (metav1.Object, error) {
			return c.client.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
		},
		func(ctx context.Context, name string, patch []byte) (*corev1.Pod, error) {
			return c.client.CoreV1().Pods(job.Namespace).Patch(ctx, name, types.StrategicMergePatchType, withFinalizer(patch, adopt[name]), metav1.PatchOptions{FieldManager: fieldManager})
		})
	if err != nil {
		return Observed{}, err
	}
	return Observed{Job: job, Pods: pods, Open: open, Released: released, Now: c.clock()}, nil
}

// withFinalizer lets a patch of the owner also put the finalizer on a Pod that is adopted, and take it off one that is let go.
func withFinalizer(patch []byte, adopt bool) []byte {
	var p map[string]map[string]any
	if err := json.Unmarshal(patch, &p); err != nil {
		panic(fmt.Sprintf("reading a patch of package claim: %v", err)) // made from strings by this program: cannot fail
	}
	finalizer := []string{batchv1.JobTrackingFinalizer}
	if adopt {
		p["metadata"]["finalizers"] = finalizer
	} else {
		p["metadata"]["$deleteFromPrimitiveList/finalizers"] = finalizer
	}
	out, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("writing a patch: %v", err)) // as above
	}
	return out
}

// writeStatus reports what was observed, and what has been done since. It is written on top of the version it was worked out from, or not at all.
func (c *Controller) writeStatus(ctx context.Context, job *batchv1.Job, a Actions, done *outcome) error {
	status := done.applied(a.Status)
	if apiequality.Semantic.DeepEqual(job.Status, status) {
		return nil
	}
	next := job.DeepCopy()
	next.Status = status
	got, err := c.client.BatchV1().Jobs(job.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("the Job %s/%s: writing its status: %w", job.Namespace, job.Name, err)
	}
	c.written.Wrote(job.UID, got.ResourceVersion)
	for _, e := range a.Events {
		c.events.Event(job, e.Type, e.Reason, e.Message)
	}
	return nil
}

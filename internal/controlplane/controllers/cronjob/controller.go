package cronjob

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-cronjob"

const (
	workers = 4
	// lookAgain bounds how long a write may stay out of the cache without any event.
	lookAgain = 5 * time.Second
)

// Controller is the controller of CronJobs.
type Controller struct {
	client   kubernetes.Interface
	events   record.EventRecorder
	cronJobs batchlisters.CronJobLister
	jobs     cache.Indexer
	synced   []cache.InformerSynced
	written  ledger.Written
	clock    clock.PassiveClock
	loop     *reconcile.Loop

	mu      sync.Mutex
	changed map[types.UID]time.Time // when a schedule was seen to change
	started map[types.UID]string    // the Job of the run begun last, while the status does not tell of it
}

// New makes the controller and registers what it wants to hear from f. The clock says which runs are due.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, now clock.PassiveClock) *Controller {
	cronInf, jobInf := f.Batch().V1().CronJobs(), f.Batch().V1().Jobs()
	index.AddController(jobInf.Informer())
	c := &Controller{
		client: client, events: events, cronJobs: cronInf.Lister(), jobs: jobInf.Informer().GetIndexer(), clock: now,
		changed: map[types.UID]time.Time{}, started: map[types.UID]string{},
	}
	c.loop = reconcile.New("cronjob", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(cronInf.Informer(), cache.ResourceEventHandlerFuncs{UpdateFunc: c.noteChange, DeleteFunc: c.forget}),
		reconcile.Listen(cronInf.Informer(), c.loop.Handler()),
		reconcile.Listen(jobInf.Informer(), c.loop.HandlerFor(ownerOf)),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

func ownerOf(obj any) []reconcile.Key {
	j, ok := obj.(*batchv1.Job)
	if !ok {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(j); ref != nil && ref.Kind == kind.Kind {
		return []reconcile.Key{{Namespace: j.Namespace, Name: ref.Name}}
	}
	return nil
}

// noteChange remembers when a schedule changed: the times that the new one would have had before then are not missed runs.
func (c *Controller) noteChange(was, is any) {
	old, ok1 := was.(*batchv1.CronJob)
	cj, ok2 := is.(*batchv1.CronJob)
	if ok1 && ok2 && (old.Spec.Schedule != cj.Spec.Schedule || !ptr.Equal(old.Spec.TimeZone, cj.Spec.TimeZone)) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed[cj.UID] = c.clock.Now()
	}
}

func (c *Controller) forget(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if cj, ok := obj.(*batchv1.CronJob); ok {
		c.written.Forget(cj.UID)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.changed, cj.UID)
		delete(c.started, cj.UID)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	cj, err := c.cronJobs.CronJobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if c.written.NewerThan(cj) {
		return reconcile.Result{After: lookAgain}, nil // a run that the status written last tells of may be gone from the cache of Jobs already
	}
	o, err := c.observe(ctx, cj)
	if err != nil {
		return reconcile.Result{}, err
	}
	a := Decide(o)
	if err := c.act(ctx, cj, a); err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, err
	}
	return reconcile.Result{After: a.Next}, nil
}

// observe reads the Jobs. One that the status lists, or that was begun and may not be in the status, is asked for if the cache does not show it: the cache may
// be late, and the answer that said that it was made may have been lost.
func (c *Controller) observe(ctx context.Context, cj *batchv1.CronJob) (Observed, error) {
	jobs := index.ControlledBy[*batchv1.Job](c.jobs, cj.UID)
	ask := sets.New[string]()
	for _, ref := range cj.Status.Active {
		ask.Insert(ref.Name)
	}
	begun := c.begun(cj.UID)
	if begun != "" {
		ask.Insert(begun)
	}
	for _, j := range jobs {
		ask.Delete(j.Name)
	}
	for name := range ask {
		j, err := c.client.BatchV1().Jobs(cj.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil && metav1.IsControlledBy(j, cj):
			jobs = append(jobs, j)
		case err != nil && !apierrors.IsNotFound(err):
			return Observed{}, fmt.Errorf("the CronJob %s/%s: reading its Job %s, which the cache does not show: %w", cj.Namespace, cj.Name, name, err)
		case name == begun:
			c.begin(cj.UID, "") // there is none, or it is somebody else's
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return Observed{CronJob: cj, Jobs: jobs, Since: c.changed[cj.UID], Now: c.clock.Now()}, nil
}

// begun is the Job of the run that was begun last, if the status may not tell of it yet.
func (c *Controller) begun(cj types.UID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started[cj]
}

// begin notes a Job before it is created; "" once the status tells of it.
func (c *Controller) begin(cj types.UID, job string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if job == "" {
		delete(c.started, cj)
	} else {
		c.started[cj] = job
	}
}

func (c *Controller) act(ctx context.Context, cj *batchv1.CronJob, a Actions) error {
	for _, j := range a.Replace {
		if err := c.remove(ctx, cj, j); err != nil {
			return err
		}
	}
	var startErr error
	if !a.Start.IsZero() {
		var j *batchv1.Job
		if j, startErr = c.start(ctx, cj, a); j != nil {
			a.Status.Active = append(a.Status.Active, reference(j))
			a.Status.LastScheduleTime = &metav1.Time{Time: a.Start}
		}
	}
	if err := c.writeStatus(ctx, cj, a); err != nil {
		return err
	}
	if startErr == nil {
		c.begin(cj.UID, "")
	}
	for _, j := range a.Remove {
		if err := c.remove(ctx, cj, j); err != nil {
			return err
		}
	}
	return startErr
}

// start creates the Job of a run. One that is there already was created when the answer was lost; one of another owner is left alone, and the run is his.
func (c *Controller) start(ctx context.Context, cj *batchv1.CronJob, a Actions) (*batchv1.Job, error) {
	want := newJob(cj, a.Start, a.Zone)
	jobs := c.client.BatchV1().Jobs(cj.Namespace)
	c.begin(cj.UID, want.Name)
	j, err := jobs.Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		c.events.Eventf(cj, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", j.Name)
		return j, nil
	case apierrors.IsAlreadyExists(err):
		if j, err = jobs.Get(ctx, want.Name, metav1.GetOptions{}); err == nil {
			if metav1.IsControlledBy(j, cj) {
				return j, nil
			}
			err = fmt.Errorf("the name is taken by a Job of another owner: rename or delete that Job")
		}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil, err
	}
	c.events.Eventf(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
	return nil, fmt.Errorf("the CronJob %s/%s: creating Job %s: %w", cj.Namespace, cj.Name, want.Name, err)
}

func (c *Controller) remove(ctx context.Context, cj *batchv1.CronJob, j *batchv1.Job) error {
	err := c.client.BatchV1().Jobs(j.Namespace).Delete(ctx, j.Name, metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground), Preconditions: &metav1.Preconditions{UID: &j.UID},
	})
	switch {
	case err == nil:
		c.events.Eventf(cj, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", j.Name)
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, though the cache still shows it
	default:
		c.events.Eventf(cj, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return fmt.Errorf("the CronJob %s/%s: deleting Job %s: %w", cj.Namespace, cj.Name, j.Name, err)
	}
	return nil
}

// writeStatus reports, and tells the Events that go with it once it is certain that they are not told again.
func (c *Controller) writeStatus(ctx context.Context, cj *batchv1.CronJob, a Actions) error {
	if !apiequality.Semantic.DeepEqual(cj.Status, a.Status) {
		next := cj.DeepCopy()
		next.Status = a.Status
		got, err := c.client.BatchV1().CronJobs(cj.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the CronJob %s/%s: writing its status: %w", cj.Namespace, cj.Name, err)
		}
		c.written.Wrote(cj.UID, got.ResourceVersion)
	}
	for _, e := range a.Events {
		c.events.Event(cj, e.Type, e.Reason, e.Message)
	}
	return nil
}

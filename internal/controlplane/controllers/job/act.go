package job

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/burst"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/verify"
)

// errTerminating ends the creating of Pods in a namespace that is being deleted; nothing will ever be created there again.
var errTerminating = errors.New("the namespace is terminating")

// errChanged says that a Pod is no longer what it was when it was found superfluous; its own event brings the next pass.
var errChanged = errors.New("the Pod has changed since")

// outcome is what act has done.
type outcome struct {
	mu      sync.Mutex
	created int32
	gone    int32 // told to go
	ready   int32 // of gone
}

func (o *outcome) add(created, gone, ready int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.created, o.gone, o.ready = o.created+created, o.gone+gone, o.ready+ready
}

// applied is the status with what has been done since it was worked out.
func (o *outcome) applied(s batchv1.JobStatus) batchv1.JobStatus {
	s.Active += o.created - o.gone
	s.Ready = ptr.To(*s.Ready - o.ready)
	s.Terminating = ptr.To(*s.Terminating + o.gone)
	return s
}

// act creates and removes Pods.
func (c *Controller) act(ctx context.Context, job *batchv1.Job, a Actions) (*outcome, error) {
	done := &outcome{}
	again := &outcome{} // what is sent again has been counted already
	err := errors.Join(
		burst.Each(len(a.Recreate), func(i int) error { return c.create(ctx, job, a.Recreate[i], again) }),
		burst.Each(len(a.VerifyCreated), func(i int) error { _, err := c.verifyCreated(ctx, job, a.VerifyCreated[i]); return err }),
		burst.Each(len(a.Redelete), func(i int) error { return c.remove(ctx, job, a.Redelete[i]) }),
	)
	if err == nil {
		err = burst.Growing(len(a.Create), func(i int) error {
			n := a.Create[i]
			n.Name = podName(job, n.Index)
			return c.create(ctx, job, n, done)
		})
	}
	if errors.Is(err, errTerminating) {
		return done, nil
	}
	return done, cmp.Or(err,
		burst.Each(len(a.Delete), func(i int) error { return c.delete(ctx, job, a.Delete[i], done) }),
		burst.Each(len(a.Discard), func(i int) error { return c.discard(ctx, job, a.Discard[i], done) }),
	)
}

func (c *Controller) create(ctx context.Context, job *batchv1.Job, n NewPod, done *outcome) error {
	c.ledger.Creating(job.UID, n.Name)
	pod, err := c.client.CoreV1().Pods(job.Namespace).Create(ctx, newPod(job, n), metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		c.ledger.Created(job.UID, n.Name, pod.ResourceVersion)
		c.events.Eventf(job, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", n.Name)
		done.add(1, 0, 0)
		return nil
	case apierrors.IsAlreadyExists(err):
		return c.taken(ctx, job, n.Name)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		c.ledger.NotCreated(job.UID, n.Name)
		return errTerminating
	case ledger.Refused(err):
		c.ledger.CreateRefused(job.UID, n.Name)
	default:
		c.ledger.CreateUnsure(job.UID, n.Name)
	}
	c.events.Eventf(job, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
	return fmt.Errorf("the Job %s/%s: creating Pod %s: %w", job.Namespace, job.Name, n.Name, err)
}

// taken finds out whether a Pod that already exists is the one this controller meant to create.
func (c *Controller) taken(ctx context.Context, job *batchv1.Job, name string) error {
	own, err := c.verifyCreated(ctx, job, name)
	if err == nil && !own {
		err = fmt.Errorf("the Job %s/%s: the name %s is taken by a Pod of another owner; another name will be tried", job.Namespace, job.Name, name)
	}
	return err
}

// verifyCreated asks the API server what became of a create, and notes it.
func (c *Controller) verifyCreated(ctx context.Context, job *batchv1.Job, name string) (own bool, err error) {
	own, err = verify.Created(ctx, c.client.CoreV1().Pods(job.Namespace), &c.ledger, job, name)
	if err != nil {
		return false, fmt.Errorf("the Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return own, nil
}

// delete tells a Pod to go that is still to be counted.
func (c *Controller) delete(ctx context.Context, job *batchv1.Job, pod *corev1.Pod, done *outcome) error {
	if err := c.remove(ctx, job, ledger.Deletion{Name: pod.Name, UID: pod.UID}); err != nil {
		return err
	}
	ready := int32(0)
	if podstate.Ready(pod) {
		ready = 1
	}
	done.add(0, 1, ready)
	return nil
}

// discard removes a Pod that counts for nothing: it loses its finalizer first, on condition that nothing has happened to it, since it may have succeeded
// meanwhile. Should the delete then fail, it is found again by the missing finalizer.
func (c *Controller) discard(ctx context.Context, job *batchv1.Job, pod *corev1.Pod, done *outcome) error {
	switch err := c.untrack(ctx, job, pod, true); {
	case errors.Is(err, errChanged):
		return nil
	case err != nil:
		return err
	}
	return c.delete(ctx, job, pod, done)
}

func (c *Controller) remove(ctx context.Context, job *batchv1.Job, d ledger.Deletion) error {
	c.ledger.Deleting(job.UID, d)
	err := c.client.CoreV1().Pods(job.Namespace).Delete(ctx, d.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &d.UID}})
	switch {
	case err == nil:
		c.ledger.Deleted(job.UID, d.UID)
		c.events.Eventf(job, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", d.Name)
		return nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		c.ledger.Deleted(job.UID, d.UID) // gone already, though the cache still shows it
		return nil
	case ledger.Refused(err):
		c.ledger.DeleteRefused(job.UID, d.UID)
	default:
		c.ledger.DeleteUnsure(job.UID, d.UID)
	}
	c.events.Eventf(job, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
	return fmt.Errorf("the Job %s/%s: deleting Pod %s: %w", job.Namespace, job.Name, d.Name, err)
}

// release takes the finalizer off Pods that the status accounts for.
func (c *Controller) release(ctx context.Context, job *batchv1.Job, pods []*corev1.Pod) error {
	return burst.Each(len(pods), func(i int) error { return c.untrack(ctx, job, pods[i], false) })
}

// untrack takes the finalizer off a Pod, if so wanted only while it is as the cache shows it.
func (c *Controller) untrack(ctx context.Context, job *batchv1.Job, pod *corev1.Pod, unchanged bool) error {
	if !tracked(pod) {
		return nil
	}
	_, err := c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, untrackPatch(pod, unchanged), metav1.PatchOptions{FieldManager: fieldManager})
	switch {
	case err == nil, apierrors.IsNotFound(err):
	case unchanged && apierrors.IsConflict(err):
		return errChanged
	case apierrors.IsConflict(err), apierrors.IsInvalid(err): // another Pod has the name by now
	default:
		return fmt.Errorf("the Job %s/%s: taking the finalizer %s off Pod %s: %w", job.Namespace, job.Name, batchv1.JobTrackingFinalizer, pod.Name, err)
	}
	c.released.done(job.UID, pod.UID)
	return nil
}

func untrackPatch(pod *corev1.Pod, unchanged bool) []byte {
	m := map[string]any{"uid": pod.UID, "$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer}}
	if unchanged {
		m["resourceVersion"] = pod.ResourceVersion
	}
	b, err := json.Marshal(map[string]any{"metadata": m})
	if err != nil {
		panic(fmt.Sprintf("writing a patch: %v", err)) // strings only: cannot fail
	}
	return b
}

package job

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// Observed is everything a decision rests on.
type Observed struct {
	Job  *batchv1.Job
	Pods []*corev1.Pod // all Pods the Job owns
	Open ledger.Open   // creates and deletes that Pods does not show yet
	// Released are Pods whose finalizer is off although Pods may still show it: to take it off again would change nothing.
	Released sets.Set[types.UID]
	Now      time.Time
}

// Actions is what is to be done now, in the order of the fields.
type Actions struct {
	Create []NewPod
	// Recreate are creates of unknown outcome to send again under their names; of VerifyCreated, which are no longer wanted, it is found out what became of them.
	Recreate      []NewPod
	VerifyCreated []string
	// Delete are Pods of a Job that is over; they are still to be counted. Discard are Pods too many, which count for nothing.
	Delete, Discard []*corev1.Pod
	Redelete        []ledger.Deletion
	// Status is what is to be reported; Active and Ready are as before the creates and deletes above.
	Status batchv1.JobStatus
	// Release are Pods that Status accounts for: their finalizer is to come off once it has been written.
	Release []*corev1.Pod
	Events  []Event
	// Recheck is the time until a decision that no event will announce; zero for none.
	Recheck time.Duration
}

// Event tells the Job's readers what happened.
type Event struct {
	Type, Reason, Message string
}

// maxPerPass bounds the Pods created in one pass and those named in the status at once, so that a huge Job neither keeps others waiting nor outgrows the
// size of an object.
const maxPerPass = 500

// decision is one call of Decide under way.
type decision struct {
	Observed
	Actions
	tally
	// doneIndexes and failedIndexes include the Pods of tally that the status does not name yet.
	doneIndexes, failedIndexes indexes
	// kept is, per index, the last failed Pod of an index that is to be tried again: its successor inherits how often the index has failed.
	kept map[int]*corev1.Pod
	// end is the condition that decides the Job's fate; nil while it is open.
	end *batchv1.JobCondition
}

// Decide looks at one Job that is not finished.
func Decide(o Observed) Actions {
	d := &decision{Observed: o, tally: take(o)}
	d.Status = *o.Job.Status.DeepCopy()
	d.countReleased()
	d.countIndexes()
	if d.Status.StartTime == nil && !suspended(o.Job) {
		d.Status.StartTime = &metav1.Time{Time: o.Now}
	}
	if o.Job.DeletionTimestamp == nil {
		d.judge()
		d.choosePods()
		d.reportSuspension()
	} else {
		d.Redelete, d.VerifyCreated = o.Open.Redelete, o.Open.Recreate
	}
	d.account()
	d.Status.Active = int32(len(d.active) + o.Open.Creating)
	d.Status.Ready = ptr.To(int32(d.ready))
	d.Status.Terminating = ptr.To(int32(len(d.terminating)))
	d.finish()
	return d.Actions
}

// succeededCount is how many Pods have succeeded, be they in the status or not.
func (d *decision) succeededCount() int {
	if indexed(d.Job) {
		return d.doneIndexes.count()
	}
	return int(d.Status.Succeeded) + len(d.Status.UncountedTerminatedPods.Succeeded) + len(d.succeeded)
}

func (d *decision) failedCount() int {
	n := int(d.Status.Failed) + len(d.Status.UncountedTerminatedPods.Failed)
	for _, p := range d.failed {
		if judge(d.Job.Spec.PodFailurePolicy, p).counts() {
			n++
		}
	}
	return n
}

// judge finds out whether the Job's fate is decided, and by what. What has been decided once stays.
func (d *decision) judge() {
	if t := d.decided(); t != "" {
		d.end = condition(&d.Status, t)
		return
	}
	t, reason, message := d.verdict()
	if t == "" {
		return
	}
	c := newCondition(t, corev1.ConditionTrue, reason, message, d.Now)
	d.Status.Conditions = append(d.Status.Conditions, c)
	d.end = &c
}

// verdict is the condition by which the Job has just been decided, if it has been. A failure is looked for first.
func (d *decision) verdict() (t batchv1.JobConditionType, reason, message string) {
	spec := &d.Job.Spec
	for _, p := range d.Pods {
		if failed(d.Job, p) {
			if j := judge(spec.PodFailurePolicy, p); j.action == batchv1.PodFailurePolicyActionFailJob {
				return batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy, j.why
			}
		}
	}
	limit := int(ptr.Deref(spec.BackoffLimit, 6))
	if d.failedCount() > limit || d.restartedTooOften(limit) {
		return batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
	}
	if spec.ActiveDeadlineSeconds != nil && !suspended(d.Job) {
		left := d.Status.StartTime.Add(time.Duration(*spec.ActiveDeadlineSeconds) * time.Second).Sub(d.Now)
		if left <= 0 {
			return batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"
		}
		d.lookAgainIn(left)
	}
	if failedOnes := d.failedIndexes.count(); failedOnes > 0 {
		if spec.MaxFailedIndexes != nil && failedOnes > int(*spec.MaxFailedIndexes) {
			return batchv1.JobFailureTarget, batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes"
		}
		if failedOnes+d.doneIndexes.count() >= completions(d.Job) {
			return batchv1.JobFailureTarget, batchv1.JobReasonFailedIndexes, "Job has failed indexes"
		}
	}
	if message, ok := successful(spec.SuccessPolicy, d.doneIndexes, completions(d.Job)); ok {
		return batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, message
	}
	if d.complete() {
		return batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods"
	}
	return "", "", ""
}

// complete says that enough has succeeded. Without a number of completions the Pods know among themselves when the work is done: the first success says so,
// and the others are left to end.
func (d *decision) complete() bool {
	if len(d.active) > 0 || d.Open.Creating > 0 {
		return false
	}
	if d.Job.Spec.Completions == nil {
		return d.succeededCount() > 0
	}
	return d.succeededCount() >= completions(d.Job)
}

// restartedTooOften is the limit of Pods whose containers are restarted in place.
func (d *decision) restartedTooOften(limit int) bool {
	if d.Job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	n := 0
	for _, p := range d.Pods {
		if !podstate.Finished(p) {
			for _, s := range append(p.Status.InitContainerStatuses[:len(p.Status.InitContainerStatuses):len(p.Status.InitContainerStatuses)], p.Status.ContainerStatuses...) {
				n += int(s.RestartCount)
			}
		}
	}
	return n > 0 && n >= limit
}

// reportSuspension sets the condition Suspended. A Job that goes on has its full deadline again.
func (d *decision) reportSuspension() {
	if d.end != nil {
		return
	}
	c := condition(&d.Status, batchv1.JobSuspended)
	is := c != nil && c.Status == corev1.ConditionTrue
	switch {
	case suspended(d.Job) && !is:
		d.set(newCondition(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended", d.Now))
		d.Status.StartTime = nil // so that the template of the stopped Job may be changed, and since the deadline counts time under way
		d.Events = append(d.Events, Event{corev1.EventTypeNormal, "Suspended", "Job suspended"})
	case !suspended(d.Job) && is:
		d.set(newCondition(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed", d.Now))
		d.Status.StartTime = &metav1.Time{Time: d.Now}
		d.Events = append(d.Events, Event{corev1.EventTypeNormal, "Resumed", "Job resumed"})
	}
}

// finish declares the Job over once nothing of it is left to end or to be counted.
func (d *decision) finish() {
	u := d.Status.UncountedTerminatedPods
	if d.end == nil || d.Open.Creating > 0 || len(d.active)+len(d.terminating)+len(d.tracked)+len(u.Succeeded)+len(u.Failed) > 0 {
		return
	}
	if d.Status.StartTime == nil {
		d.Status.StartTime = &metav1.Time{Time: d.Now} // a finished Job has one, also if it never had to start anything
	}
	if d.end.Type == batchv1.JobFailureTarget {
		d.set(newCondition(batchv1.JobFailed, corev1.ConditionTrue, d.end.Reason, d.end.Message, d.Now))
		d.Events = append(d.Events, Event{corev1.EventTypeWarning, d.end.Reason, d.end.Message})
		return
	}
	d.set(newCondition(batchv1.JobComplete, corev1.ConditionTrue, d.end.Reason, d.end.Message, d.Now))
	d.Status.CompletionTime = &metav1.Time{Time: d.Now}
	if n := d.Job.Spec.Completions; n != nil && d.Status.Succeeded > *n {
		d.Events = append(d.Events, Event{corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached"})
	}
	d.Events = append(d.Events, Event{corev1.EventTypeNormal, "Completed", "Job completed"})
}

// Finished says whether the Job is over.
func Finished(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func (d *decision) lookAgainIn(t time.Duration) {
	if t > 0 && (d.Recheck == 0 || t < d.Recheck) {
		d.Recheck = t
	}
}

func (d *decision) set(c batchv1.JobCondition) {
	if old := condition(&d.Status, c.Type); old != nil {
		*old = c
		return
	}
	d.Status.Conditions = append(d.Status.Conditions, c)
}

func condition(s *batchv1.JobStatus, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

func newCondition(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) batchv1.JobCondition {
	at := metav1.NewTime(now)
	return batchv1.JobCondition{Type: t, Status: status, Reason: reason, Message: message, LastProbeTime: at, LastTransitionTime: at}
}

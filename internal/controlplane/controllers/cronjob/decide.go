package cronjob

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
)

// Observed is everything a decision rests on.
type Observed struct {
	CronJob *batchv1.CronJob
	Jobs    []*batchv1.Job // all that the CronJob owns
	// Since is when the schedule was last seen to change; zero if it was not. Runs that the new schedule would have had before are not missed ones.
	Since time.Time
	Now   time.Time
}

// Actions is what is to be done now, in the order of the fields.
type Actions struct {
	// Replace are running Jobs that make way for a new one.
	Replace []*batchv1.Job
	// Start is the time of the run to start; zero for none.
	Start time.Time
	Zone  *time.Location // of the schedule
	// Status is what is to be reported. The started Job is added to it.
	Status batchv1.CronJobStatus
	Events []Event
	// Remove are finished Jobs beyond the history limits.
	Remove []*batchv1.Job
	// Next is the time until the next run; zero if only a change of the CronJob or of a Job can bring one.
	Next time.Duration
}

// Event tells the CronJob's readers what happened.
type Event struct {
	Type, Reason, Message string
}

// late is added to the time of the next run: clocks of two machines differ, and a run must not be looked for just before it is due.
const late = 100 * time.Millisecond

// Decide looks at one CronJob.
func Decide(o Observed) Actions {
	cj := o.CronJob
	a := Actions{Status: *cj.Status.DeepCopy()}
	running := a.report(o)
	if cj.DeletionTimestamp != nil {
		return a
	}
	a.Remove = beyondHistory(cj, o.Jobs)
	s, zone, err := parse(cj)
	if err != nil {
		if bad := (unknownZone{}); errors.As(err, &bad) {
			a.event(corev1.EventTypeWarning, "UnknownTimeZone", "%s", err)
		} else {
			a.event(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", cj.Spec.Schedule, err)
		}
		return a
	}
	if strings.Contains(cj.Spec.Schedule, "TZ") {
		a.event(corev1.EventTypeWarning, "UnsupportedSchedule", "CRON_TZ or TZ used in schedule %q is not officially supported, use timeZone instead", cj.Spec.Schedule)
	}
	if ptr.Deref(cj.Spec.Suspend, false) {
		return a
	}
	next := s.Next(o.Now)
	if !next.IsZero() { // such as the 30th of February
		a.Next = next.Sub(o.Now) + late
	}
	since := o.lastRun()
	run, missed := due(s, since, o.Now)
	if run.IsZero() {
		return a
	}
	if deadline := cj.Spec.StartingDeadlineSeconds; deadline != nil {
		earliest := o.Now.Add(-time.Duration(*deadline) * time.Second)
		if run.Before(earliest) {
			a.event(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", run.UTC().Format(time.RFC1123Z))
			return a
		}
		if earliest.After(since) {
			_, missed = due(s, earliest, o.Now)
		}
	}
	if missed > manyMissed {
		a.event(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	switch {
	case len(running) > 0 && cj.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent:
		a.event(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return a
	case cj.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent:
		for _, j := range running {
			if j.DeletionTimestamp == nil {
				a.Replace = append(a.Replace, j)
			}
		}
		a.Status.Active = nil
	}
	a.Start, a.Zone = run, zone
	return a
}

// lastRun is up to when the schedule has been seen to: the last run, be it in the status or only in a Job's own annotation, or the beginning.
func (o Observed) lastRun() time.Time {
	t := o.CronJob.CreationTimestamp.Time
	later := func(u time.Time) {
		if u.After(t) {
			t = u
		}
	}
	later(o.Since)
	if last := o.CronJob.Status.LastScheduleTime; last != nil {
		later(last.Time)
	}
	for _, j := range o.Jobs {
		if at, ok := scheduledFor(o.CronJob, j); ok {
			later(at)
		}
	}
	return t
}

// scheduledFor is the time of the run that a Job is. Jobs that somebody else made from the CronJob are none.
func scheduledFor(cj *batchv1.CronJob, j *batchv1.Job) (at time.Time, ok bool) {
	at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	return at, err == nil && j.Name == jobName(cj, at)
}

func jobName(cj *batchv1.CronJob, at time.Time) string {
	return fmt.Sprintf("%s-%d", cj.Name, at.Unix()/60)
}

// report brings the status up to date with the Jobs, and returns those that run.
func (a *Actions) report(o Observed) (running []*batchv1.Job) {
	listed := sets.New[types.UID]()
	for _, ref := range o.CronJob.Status.Active {
		listed.Insert(ref.UID)
	}
	exists := map[types.UID]*batchv1.Job{}
	for _, j := range o.Jobs {
		exists[j.UID] = j
		at, own := scheduledFor(o.CronJob, j)
		if last := a.Status.LastScheduleTime; own && (last == nil || last.Time.Before(at)) {
			// It was started, but then the status was not written. That the run took place must be known before the Job is removed, or it would take place again.
			a.Status.LastScheduleTime = &metav1.Time{Time: at}
		}
		if end := finished(j); end != nil {
			if end.Type == batchv1.JobComplete && j.Status.CompletionTime != nil &&
				(a.Status.LastSuccessfulTime == nil || a.Status.LastSuccessfulTime.Before(j.Status.CompletionTime)) {
				a.Status.LastSuccessfulTime = j.Status.CompletionTime
			}
			continue
		}
		switch {
		case listed.Has(j.UID):
		case own:
			a.Status.Active = append(a.Status.Active, reference(j))
		default:
			a.event(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
			continue
		}
		running = append(running, j)
	}
	a.Status.Active = slices.DeleteFunc(a.Status.Active, func(ref corev1.ObjectReference) bool {
		j := exists[ref.UID]
		if j == nil {
			a.event(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
			return true
		}
		if end := finished(j); end != nil {
			a.event(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, end.Type)
			return true
		}
		return false
	})
	if len(a.Status.Active) == 0 {
		a.Status.Active = nil
	}
	return running
}

func finished(j *batchv1.Job) *batchv1.JobCondition {
	for i := range j.Status.Conditions {
		c := &j.Status.Conditions[i]
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// beyondHistory are the oldest finished Jobs above the limits, which are kept apart for successes and failures.
func beyondHistory(cj *batchv1.CronJob, jobs []*batchv1.Job) []*batchv1.Job {
	var out []*batchv1.Job
	for t, limit := range map[batchv1.JobConditionType]*int32{batchv1.JobComplete: cj.Spec.SuccessfulJobsHistoryLimit, batchv1.JobFailed: cj.Spec.FailedJobsHistoryLimit} {
		var list []*batchv1.Job
		for _, j := range jobs {
			if end := finished(j); end != nil && end.Type == t && j.DeletionTimestamp == nil {
				list = append(list, j)
			}
		}
		if limit != nil && len(list) > int(*limit) {
			slices.SortFunc(list, byStart)
			out = append(out, list[:len(list)-int(*limit)]...)
		}
	}
	slices.SortFunc(out, byStart)
	return out
}

func byStart(a, b *batchv1.Job) int {
	start := func(j *batchv1.Job) time.Time {
		if j.Status.StartTime != nil {
			return j.Status.StartTime.Time
		}
		return j.CreationTimestamp.Time
	}
	return cmp.Or(start(a).Compare(start(b)), strings.Compare(a.Name, b.Name))
}

func (a *Actions) event(t, reason, format string, args ...any) {
	a.Events = append(a.Events, Event{t, reason, fmt.Sprintf(format, args...)})
}

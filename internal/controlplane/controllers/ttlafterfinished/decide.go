package ttlafterfinished

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Verdict is what is to be done with one Job.
type Verdict struct {
	Delete bool
	// Reason says why it is deleted.
	Reason string
	// Recheck is the time until the Job is due; zero when only a change of it can make it so.
	Recheck time.Duration
}

// Decide looks at one Job. The error is about a finished Job that does not say when it finished: nobody can know when it is due.
func Decide(job *batchv1.Job, now time.Time) (Verdict, error) {
	ttl := job.Spec.TTLSecondsAfterFinished
	if ttl == nil || job.DeletionTimestamp != nil {
		return Verdict{}, nil
	}
	end := finished(job)
	if end == nil {
		return Verdict{}, nil
	}
	if end.LastTransitionTime.IsZero() {
		return Verdict{}, fmt.Errorf("the finished Job %s/%s has the condition %s without a lastTransitionTime: it cannot be known when its ttlSecondsAfterFinished (%d) is over; "+
			"whoever writes its status must set that time", job.Namespace, job.Name, end.Type, *ttl)
	}
	due := end.LastTransitionTime.Add(time.Duration(*ttl) * time.Second)
	if left := due.Sub(now); left > 0 {
		return Verdict{Recheck: left}, nil
	}
	return Verdict{Delete: true, Reason: fmt.Sprintf("%s since %s, kept for %d s", end.Type, end.LastTransitionTime.UTC().Format(time.RFC3339), *ttl)}, nil
}

// finished is the condition that says that a Job is over, or nil. A Job whose Pods are still ending has only announced it.
func finished(job *batchv1.Job) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		c := &job.Status.Conditions[i]
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

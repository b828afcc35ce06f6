package job

import (
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// tally is a Job's Pods sorted by what they mean for it.
type tally struct {
	active      []*corev1.Pod // running or about to, and not asked to go
	ready       int           // of active
	terminating []*corev1.Pod // asked to go, not ended yet
	finished    []*corev1.Pod // that ended by themselves, counted or not
	tracked     []*corev1.Pod // that carry the finalizer

	// What the status does not name yet, and may decide the Job's fate: tracked Pods that have succeeded and that have failed.
	succeeded, failed []*corev1.Pod
}

// take sorts the Pods.
func take(o Observed) tally {
	var t tally
	named := sets.New[types.UID]()
	if u := o.Job.Status.UncountedTerminatedPods; u != nil {
		named.Insert(u.Succeeded...).Insert(u.Failed...)
	}
	decided := o.decided()
	for _, p := range o.Pods {
		switch {
		case podstate.Finished(p):
		case o.leaving(p):
			t.terminating = append(t.terminating, p)
		default:
			t.active = append(t.active, p)
			if podstate.Ready(p) {
				t.ready++
			}
		}
		fails := failed(o.Job, p)
		if !tracked(p) {
			if podstate.Finished(p) && p.DeletionTimestamp == nil {
				t.finished = append(t.finished, p)
			}
			continue
		}
		t.tracked = append(t.tracked, p)
		if fails || p.Status.Phase == corev1.PodSucceeded {
			t.finished = append(t.finished, p)
		}
		if named.Has(p.UID) || !countable(o.Job, p) {
			continue
		}
		stopped := o.leaving(p) // and perhaps because of what has been decided, which must not be decided by it
		switch {
		case p.Status.Phase == corev1.PodSucceeded && !(stopped && decided == batchv1.JobSuccessCriteriaMet):
			t.succeeded = append(t.succeeded, p)
		case fails && !(stopped && decided != ""):
			t.failed = append(t.failed, p)
		}
	}
	return t
}

// leaving says that the Pod has been asked to go, whether the cache shows it or not.
func (o Observed) leaving(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || o.Open.Deleting.Has(p.UID)
}

// decided is the condition that has decided the Job's fate before; "" while it is open.
func (o Observed) decided() batchv1.JobConditionType {
	for _, c := range o.Job.Status.Conditions {
		if (c.Type == batchv1.JobSuccessCriteriaMet || c.Type == batchv1.JobFailureTarget) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// tracked says that a Pod has not been counted yet: the finalizer keeps it from disappearing before.
func tracked(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) }

// failed says whether a Pod is a failure. One that is being deleted counts as such, since it may never come to say so itself, unless the Job wants to
// replace only what has surely ended.
func failed(job *batchv1.Job, p *corev1.Pod) bool {
	switch {
	case p.Status.Phase == corev1.PodFailed:
		return true
	case p.Status.Phase == corev1.PodSucceeded || replacesOnlyFailed(job):
		return false
	}
	return p.DeletionTimestamp != nil
}

func replacesOnlyFailed(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}

func indexed(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

func suspended(job *batchv1.Job) bool { return ptr.Deref(job.Spec.Suspend, false) }

func completions(job *batchv1.Job) int { return int(ptr.Deref(job.Spec.Completions, 0)) }

// countable says that a Pod stands for something: of an indexed Job, only those with an index that the Job has.
func countable(job *batchv1.Job, p *corev1.Pod) bool {
	if !indexed(job) {
		return true
	}
	i, ok := indexOf(p)
	return ok && i < completions(job)
}

// indexOf is the Pod's completion index.
func indexOf(p *corev1.Pod) (index int, ok bool) {
	i, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	return i, err == nil && i >= 0
}

func indexesOfPods(pods []*corev1.Pod) indexes {
	var list []int
	for _, p := range pods {
		if i, ok := indexOf(p); ok {
			list = append(list, i)
		}
	}
	return indexesOf(list...)
}

// failures reads how often a Pod's predecessors failed under its index: those that count, and those that the failure policy ignores.
func failures(p *corev1.Pod) (counted, ignored int) {
	read := func(key string) int {
		n, err := strconv.ParseInt(p.Annotations[key], 10, 32)
		if err != nil || n < 0 {
			return 0 // never written, or by somebody else
		}
		return int(n)
	}
	return read(batchv1.JobIndexFailureCountAnnotation), read(batchv1.JobIndexIgnoredFailureCountAnnotation)
}

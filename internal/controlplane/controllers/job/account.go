package job

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
)

// countReleased adds to the counts the named Pods that the cache shows without their finalizer, or no longer at all: nothing can make them appear as new
// again.
func (d *decision) countReleased() {
	still := sets.New[types.UID]()
	for _, p := range d.tracked {
		still.Insert(p.UID)
	}
	u := d.Status.UncountedTerminatedPods
	if u == nil {
		u = &batchv1.UncountedTerminatedPods{}
		d.Status.UncountedTerminatedPods = u
	}
	count := func(named []types.UID, n *int32) []types.UID {
		left := slices.DeleteFunc(named, func(uid types.UID) bool { return !still.Has(uid) })
		*n += int32(len(named) - len(left))
		if len(left) == 0 {
			return nil
		}
		return left
	}
	before := len(u.Succeeded)
	u.Succeeded = count(u.Succeeded[:before:before], &d.Status.Succeeded)
	u.Failed = count(u.Failed, &d.Status.Failed)
}

// countIndexes works out which indexes have succeeded, failed for good, or are to be tried again.
func (d *decision) countIndexes() {
	if !indexed(d.Job) {
		return
	}
	n := completions(d.Job)
	d.doneIndexes = parseIndexes(d.Status.CompletedIndexes, n)
	d.failedIndexes = parseIndexes(ptr.Deref(d.Status.FailedIndexes, ""), n)
	var done, gone []int
	for _, p := range d.succeeded {
		if i, _ := indexOf(p); !d.failedIndexes.has(i) {
			done = append(done, i)
		}
	}
	d.doneIndexes = d.doneIndexes.union(indexesOf(done...))
	if d.Job.Spec.BackoffLimitPerIndex == nil {
		d.failedIndexes = nil
		return
	}
	for _, p := range d.failed {
		if i, _ := indexOf(p); !d.doneIndexes.has(i) && d.failsIndex(p) {
			gone = append(gone, i)
		}
	}
	d.failedIndexes = d.failedIndexes.union(indexesOf(gone...))
	d.keepLast()
}

// failsIndex says that the index of a failed Pod is not to be tried again.
func (d *decision) failsIndex(p *corev1.Pod) bool {
	j := judge(d.Job.Spec.PodFailurePolicy, p)
	counted, _ := failures(p)
	return j.action == batchv1.PodFailurePolicyActionFailIndex || j.counts() && counted >= int(*d.Job.Spec.BackoffLimitPerIndex)
}

// keepLast finds the Pods that their successors, which are not there yet, will be numbered after.
func (d *decision) keepLast() {
	over := d.doneIndexes.union(d.failedIndexes).union(indexesOfPods(d.active))
	d.kept = map[int]*corev1.Pod{}
	for _, p := range d.tracked {
		i, _ := indexOf(p)
		if !failed(d.Job, p) || !countable(d.Job, p) || over.has(i) {
			continue
		}
		if last := d.kept[i]; last == nil || attempts(last) < attempts(p) || attempts(last) == attempts(p) && endOf(last).Before(endOf(p)) {
			d.kept[i] = p
		}
	}
}

// attempts is how often an index had failed before this Pod.
func attempts(p *corev1.Pod) int {
	counted, ignored := failures(p)
	return counted + ignored
}

// account names in the status every Pod that has ended, and says which Pods it then accounts for.
func (d *decision) account() {
	u := d.Status.UncountedTerminatedPods
	if indexed(d.Job) {
		d.Status.CompletedIndexes = d.doneIndexes.String()
		d.Status.Succeeded = int32(d.doneIndexes.count())
		d.Status.FailedIndexes = nil
		if d.Job.Spec.BackoffLimitPerIndex != nil {
			d.Status.FailedIndexes = ptr.To(d.failedIndexes.String())
		}
	}
	named := sets.New(u.Succeeded...).Insert(u.Failed...)
	for _, p := range d.tracked {
		list, ok := d.accountFor(p, named)
		if !ok {
			continue
		}
		if list != nil {
			if len(u.Succeeded)+len(u.Failed) >= maxPerPass {
				continue // the release of those already named brings the next pass
			}
			*list = append(*list, p.UID)
		}
		if !d.Released.Has(p.UID) {
			d.Release = append(d.Release, p)
		}
	}
}

// accountFor says whether a Pod may lose its finalizer, and the list of the status that has to name it first, or nil.
func (d *decision) accountFor(p *corev1.Pod, named sets.Set[types.UID]) (list *[]types.UID, ok bool) {
	u := d.Status.UncountedTerminatedPods
	over := d.end != nil || d.Job.DeletionTimestamp != nil
	i, _ := indexOf(p)
	switch {
	case named.Has(p.UID):
		return nil, over || d.kept[i] != p
	case d.Released.Has(p.UID):
		return nil, false // accounted for, or discarded; only the cache does not show it yet
	case !countable(d.Job, p):
		return nil, over || d.leaving(p) || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	case d.decided() == batchv1.JobSuccessCriteriaMet && d.leaving(p):
		return nil, true // it was stopped because it was no longer needed
	case p.Status.Phase == corev1.PodSucceeded && indexed(d.Job):
		return nil, true // its index says it
	case p.Status.Phase == corev1.PodSucceeded:
		return &u.Succeeded, true
	case failed(d.Job, p), d.end != nil && d.leaving(p):
		if !over && d.kept[i] == p {
			return nil, false
		}
		if !judge(d.Job.Spec.PodFailurePolicy, p).counts() {
			return nil, true
		}
		return &u.Failed, true
	}
	return nil, d.Job.DeletionTimestamp != nil
}

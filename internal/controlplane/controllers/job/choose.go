package job

import (
	"cmp"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// NewPod is a Pod to create. Name is empty when one is to be made up. Index and the counts mean something in an indexed Job only.
type NewPod struct {
	Name            string
	Index           int
	Failures        int // how often the index has failed, counted towards its limit
	IgnoredFailures int // and not counted
	CarriesFailures bool
}

// choosePods decides what to create and what to remove.
//
// While a Pod that was created is not in the cache yet, nothing else is created and nothing is taken for superfluous: the one that is missing may be either.
func (d *decision) choosePods() {
	d.Redelete = d.Open.Redelete
	if d.end != nil {
		d.VerifyCreated = d.Open.Recreate
		d.Delete = d.active
		return
	}
	want := d.wanted()
	d.resend(want)
	if d.Open.Creating > 0 {
		return
	}
	if d.Discard = d.superfluous(want); len(d.Discard) > 0 {
		return
	}
	if room := d.room(want); room > 0 {
		d.create(min(room, maxPerPass))
	}
}

// room is how many Pods more there may be.
func (d *decision) room(want int) int {
	room := want - len(d.active)
	if replacesOnlyFailed(d.Job) {
		room -= len(d.terminating)
	}
	return room
}

// wanted is how many Pods are to be active.
func (d *decision) wanted() int {
	parallelism := int(ptr.Deref(d.Job.Spec.Parallelism, 1))
	switch {
	case suspended(d.Job):
		return 0
	case d.Job.Spec.Completions != nil:
		return max(0, min(parallelism, completions(d.Job)-d.succeededCount()))
	case d.succeededCount() > 0:
		return min(parallelism, len(d.active)) // the work is done: whoever still runs may end, nobody starts
	}
	return parallelism
}

// resend repeats the creates of unknown outcome, if all of them are wanted. Otherwise all are asked after first: one that is not wanted may be there, in the
// place of another that is.
func (d *decision) resend(want int) {
	room := d.room(want) - (d.Open.Creating - len(d.Open.Recreate))
	var again []NewPod
	for _, name := range d.Open.Recreate {
		pod := NewPod{Name: name}
		if indexed(d.Job) {
			pod = d.newPod(indexOfName(name))
			pod.Name = name
		}
		if len(again) >= room || pod.Index < 0 || indexed(d.Job) && (pod.Index >= completions(d.Job) || d.doneIndexes.has(pod.Index) || d.failedIndexes.has(pod.Index)) {
			d.VerifyCreated = d.Open.Recreate
			return
		}
		again = append(again, pod)
	}
	d.Recreate = again
}

// superfluous are the active Pods that are not wanted: those without the finalizer, whose end could not be counted, of an indexed Job those without an index
// and the second ones of an index, and then those with which the least is lost.
func (d *decision) superfluous(want int) []*corev1.Pod {
	pods := slices.Clone(d.active)
	slices.SortStableFunc(pods, byWorth)
	var out, left []*corev1.Pod
	seen := map[int]bool{}
	for _, p := range slices.Backward(pods) {
		i, _ := indexOf(p)
		if !tracked(p) || !countable(d.Job, p) || indexed(d.Job) && (seen[i] || d.doneIndexes.has(i) || d.failedIndexes.has(i)) {
			out = append(out, p)
			continue
		}
		seen[i] = true
		left = append(left, p)
	}
	if len(left) > want {
		out = append(out, left[want:]...)
	}
	return out
}

// byWorth puts first what has come least far.
func byWorth(a, b *corev1.Pod) int {
	worth := func(p *corev1.Pod) (n int) {
		if p.Spec.NodeName != "" {
			n += 4
		}
		if p.Status.Phase == corev1.PodRunning {
			n += 2
		}
		if podstate.Ready(p) {
			n++
		}
		return n
	}
	return cmp.Or(
		cmp.Compare(worth(a), worth(b)),
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
		strings.Compare(b.Name, a.Name),
	)
}

// create chooses up to n Pods to create, as far as the back-off lets them.
func (d *decision) create(n int) {
	perIndex := d.Job.Spec.BackoffLimitPerIndex != nil
	if !perIndex {
		if left := wait(d.tally, d.Now); left > 0 {
			d.lookAgainIn(left)
			return
		}
	}
	if !indexed(d.Job) {
		d.Create = make([]NewPod, n)
		return
	}
	taken := d.doneIndexes.union(d.failedIndexes).union(indexesOfPods(d.active))
	if replacesOnlyFailed(d.Job) {
		taken = taken.union(indexesOfPods(d.terminating))
	}
	taken.missing(completions(d.Job), func(i int) (more bool) {
		if last := d.kept[i]; last != nil {
			if left := endOf(last).Add(delay(attempts(last) + 1)).Sub(d.Now); left > 0 {
				d.lookAgainIn(left)
				return true
			}
		}
		d.Create = append(d.Create, d.newPod(i))
		return len(d.Create) < n
	})
}

// newPod is the Pod for an index, numbered after the last that failed there.
func (d *decision) newPod(index int) NewPod {
	pod := NewPod{Index: index, CarriesFailures: d.Job.Spec.BackoffLimitPerIndex != nil}
	if last := d.kept[index]; last != nil {
		pod.Failures, pod.IgnoredFailures = failures(last)
		if judge(d.Job.Spec.PodFailurePolicy, last).action == batchv1.PodFailurePolicyActionIgnore {
			pod.IgnoredFailures++
		} else {
			pod.Failures++
		}
	}
	return pod
}

package job

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// A failed Pod is replaced after 10 s, 20 s, 40 s and so on, at most 10 min, as the Job API documents it.
const (
	firstDelay = 10 * time.Second
	maxDelay   = 10 * time.Minute
)

// delay is how long after the last of so many failures in a row the next Pod may start.
func delay(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	d := firstDelay
	for ; failures > 1 && d < maxDelay; failures-- {
		d *= 2
	}
	return min(d, maxDelay)
}

// wait is the time that is left of the back-off of a Job without limits per index: the failures since the last success are those of the Pods that are
// still there. Pods removed since by somebody else are no longer held against it.
func wait(t tally, now time.Time) time.Duration {
	var lastSuccess, lastFailure time.Time
	for _, p := range t.finished {
		if p.Status.Phase == corev1.PodSucceeded {
			lastSuccess = later(lastSuccess, endOf(p))
		}
	}
	failures := 0
	for _, p := range t.finished {
		if end := endOf(p); p.Status.Phase != corev1.PodSucceeded && end.After(lastSuccess) {
			failures++
			lastFailure = later(lastFailure, end)
		}
	}
	return max(0, lastFailure.Add(delay(failures)).Sub(now))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// endOf is when a Pod ended: when its last container did; or when it was last ready, or, for one that was removed with its node, when it was told to go.
func endOf(p *corev1.Pod) time.Time {
	if end, ok := lastExit(p); ok {
		return end
	}
	if c := podstate.Condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	if p.DeletionTimestamp != nil {
		return p.DeletionTimestamp.Add(-time.Duration(ptr.Deref(p.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
	return p.CreationTimestamp.Time
}

// lastExit is the end of the last container. Sidecars end last; the other init containers have ended long before.
func lastExit(p *corev1.Pod) (end time.Time, ok bool) {
	sidecar := func(name string) bool {
		return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		})
	}
	statuses := slices.Clone(p.Status.ContainerStatuses)
	for _, s := range p.Status.InitContainerStatuses {
		if sidecar(s.Name) {
			statuses = append(statuses, s)
		}
	}
	for _, s := range statuses {
		if s.State.Terminated == nil || s.State.Terminated.FinishedAt.IsZero() {
			return time.Time{}, false
		}
		end = later(end, s.State.Terminated.FinishedAt.Time)
	}
	return end, len(statuses) > 0
}

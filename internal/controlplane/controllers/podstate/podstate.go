package podstate

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Condition returns the condition of that type, or nil.
func Condition(pod *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == t {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// Ready says whether the node, or the control plane in its place, reports the Pod able to serve.
func Ready(pod *corev1.Pod) bool {
	c := Condition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Available says whether the Pod has been ready for minReady. A ready Pod that is not yet available comes with the time
// that is left, because no event will announce that it has passed.
func Available(pod *corev1.Pod, minReady time.Duration, now time.Time) (available bool, left time.Duration) {
	c := Condition(pod, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue {
		return false, 0
	}
	if minReady <= 0 {
		return true, 0
	}
	if c.LastTransitionTime.IsZero() {
		return false, 0
	}
	left = c.LastTransitionTime.Add(minReady).Sub(now)
	if left <= 0 {
		return true, 0
	}
	return false, left
}

// Finished says whether all containers have ended for good (phase Succeeded or Failed).
func Finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Active says whether the Pod runs or may still come to run: it is neither finished nor being deleted.
func Active(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && !Finished(pod) }

// Terminating says whether the Pod is being deleted and its containers may still be running.
func Terminating(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil && !Finished(pod) }

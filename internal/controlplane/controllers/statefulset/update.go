package statefulset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// partition is how many Pods, from the first, are kept back from an update.
func partition(set *appsv1.StatefulSet) int {
	r := set.Spec.UpdateStrategy.RollingUpdate
	if r == nil {
		return 0
	}
	return int(ptr.Deref(r.Partition, 0))
}

// maxUnavailable is how many Pods an update may make unavailable at once. A percentage is rounded down, and it is always one at least.
func maxUnavailable(set *appsv1.StatefulSet) int {
	r := set.Spec.UpdateStrategy.RollingUpdate
	if r == nil || r.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(r.MaxUnavailable, size(set), false)
	if err != nil {
		return 1 // validation lets nothing else through
	}
	return max(1, n)
}

// update deletes Pods of an old revision, the last first, so that they are made anew: as many as may be unavailable less those that are.
//
// In parallel, old Pods that are not available go first, and all at once: deleting them makes nothing worse, and it is how a revision that never became ready
// is replaced. In order there are none by now, since every Pod is available before anything is updated; a Pod of a broken revision stays until somebody
// deletes it, as Kubernetes documents under "Forced rollback".
func (d *decision) update() {
	if d.Set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	budget := maxUnavailable(d.Set)
	for _, p := range d.replicas {
		if d.unavailable(p) {
			budget--
		}
	}
	var good []*corev1.Pod
	for i, p := range slices.Backward(d.replicas) {
		switch {
		case i < partition(d.Set) || p == nil || d.terminating(p) || revisionOf(p) == d.Update.Name:
		case d.unavailable(p):
			d.delete(p)
		default:
			good = append(good, p)
		}
	}
	for _, p := range good[:min(len(good), max(0, budget))] {
		d.delete(p)
	}
	if len(d.Delete) > 0 {
		d.wait(d.Delete[0], "is being deleted, to be updated")
	}
}

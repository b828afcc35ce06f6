package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// pressures are the taints that keep new Pods off a Node with a problem that its present Pods may survive.
var pressures = map[corev1.NodeConditionType]string{
	corev1.NodeMemoryPressure:     corev1.TaintNodeMemoryPressure,
	corev1.NodeDiskPressure:       corev1.TaintNodeDiskPressure,
	corev1.NodePIDPressure:        corev1.TaintNodePIDPressure,
	corev1.NodeNetworkUnavailable: corev1.TaintNodeNetworkUnavailable,
}

// own says whether a taint is one that follows from a Node's conditions, and so is this controller's to set and to remove.
func own(t corev1.Taint) bool {
	switch t.Key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable:
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	case corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable, corev1.TaintNodeUnschedulable:
		return t.Effect == corev1.TaintEffectNoSchedule
	}
	return false
}

// taints are those the Node should have: everybody else's as they are, and this controller's by its conditions.
//
// A NoExecute taint is added to a Node when it is its turn. Where no Node at all is ready there is none; once one is, time begins anew.
func taints(o Observed, changed []corev1.NodeCondition, ready corev1.ConditionStatus) (want []corev1.Taint, differs, awaitsTurn bool) {
	desired := map[corev1.Taint]bool{} // without timeAdded
	if key := readinessTaint(ready); key != "" {
		desired[corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}] = true
		switch {
		case o.Total:
		case o.Turn || toldToGo(o.Node.Spec.Taints):
			desired[corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute}] = true
		default:
			awaitsTurn = true
		}
	}
	for condition, key := range pressures {
		if statusOf(o.Node, changed, condition) == corev1.ConditionTrue {
			desired[corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}] = true
		}
	}
	if o.Node.Spec.Unschedulable {
		desired[corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}] = true
	}
	for _, t := range o.Node.Spec.Taints {
		bare := corev1.Taint{Key: t.Key, Effect: t.Effect}
		if own(t) && !desired[bare] {
			differs = true
			continue
		}
		delete(desired, bare)
		want = append(want, t)
	}
	added := make([]corev1.Taint, 0, len(desired))
	for t := range desired {
		t.TimeAdded = &metav1.Time{Time: o.Now}
		added = append(added, t)
	}
	slices.SortFunc(added, func(a, b corev1.Taint) int {
		if a.Key != b.Key {
			return compare(a.Key, b.Key)
		}
		return compare(string(b.Effect), string(a.Effect)) // NoSchedule before NoExecute
	})
	return append(want, added...), differs || len(added) > 0, awaitsTurn
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

func readinessTaint(ready corev1.ConditionStatus) string {
	switch ready {
	case corev1.ConditionTrue:
		return ""
	case corev1.ConditionUnknown:
		return corev1.TaintNodeUnreachable
	}
	return corev1.TaintNodeNotReady
}

// toldToGo says that the Node has had its turn: it has one of the two taints, which may become the other.
func toldToGo(taints []corev1.Taint) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable)
	})
}

// evictAt is when a Pod has to go because of NoExecute taints; not ok for never. A taint is tolerated for as long as the first of the Pod's tolerations
// that matches it says, as in Kubernetes, whatever a later one says; that is counted from when the taint was added. The taint that is first no longer tolerated decides.
func evictAt(o Observed, all []corev1.Taint, p *corev1.Pod) (at time.Time, ok bool) {
	for i := range all {
		t := &all[i]
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		patience, forever := tolerated(p, t)
		if forever {
			continue
		}
		since := o.Now
		if t.TimeAdded != nil {
			since = t.TimeAdded.Time
		} else if seen, known := o.TaintSeen[t.Key]; known {
			since = seen
		}
		if end := since.Add(patience); !ok || end.Before(at) {
			at, ok = end, true
		}
	}
	return at, ok
}

func tolerated(p *corev1.Pod, t *corev1.Taint) (patience time.Duration, forever bool) {
	for i := range p.Spec.Tolerations {
		tol := &p.Spec.Tolerations[i]
		if !tol.ToleratesTaint(klog.Logger{}, t, false) {
			continue
		}
		if tol.TolerationSeconds == nil {
			return 0, true
		}
		return time.Duration(*tol.TolerationSeconds) * time.Second, false
	}
	return 0, false
}

package plugins

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Unschedulable turns away from nodes that were cordoned (spec.unschedulable), unless the Pod tolerates the taint that stands for it.
type Unschedulable struct{}

var _ Filter = Unschedulable{}

// Name is the filter's name.
func (Unschedulable) Name() string { return "NodeUnschedulable" }

var cordoned = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

// Prepare has nothing to say about a Pod that tolerates cordoned nodes, as those of a DaemonSet do.
func (Unschedulable) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot) Check {
	if tolerates(pod.Object.Spec.Tolerations, &cordoned) {
		return nil
	}
	return unschedulableCheck{}
}

// Concerns are what may uncordon.
func (Unschedulable) Concerns() Change { return Added | Taints }

// Helped by a node that takes Pods.
func (Unschedulable) Helped(_ *snapshot.Pod, e Event) bool {
	return e.Change&(Added|Taints) != 0 && !e.Node.Unschedulable
}

type unschedulableCheck struct{}

func (unschedulableCheck) Passes(n *snapshot.Node) bool { return !n.Unschedulable }

func (unschedulableCheck) Explain(*snapshot.Node) []string {
	return []string{"node(s) were unschedulable"}
}

func (unschedulableCheck) Remedies(n *snapshot.Node) []string {
	return []string{fmt.Sprintf("cordoned: kubectl uncordon %s, or let the Pod tolerate %s", n.Name(), toleration(&cordoned))}
}

func (unschedulableCheck) Lasting(*snapshot.Node) bool { return true }

func tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		if tolerations[i].ToleratesTaint(klog.Logger{}, taint, false) {
			return true
		}
	}
	return false
}

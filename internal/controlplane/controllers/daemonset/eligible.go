package daemonset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// fit answers for one template which nodes are its.
type fit struct {
	node     string // spec.nodeName of the template: that node alone
	affinity plugins.Check
	taints   plugins.Check
}

// newFit asks the scheduler's own filters, so that a Pod is never made for a node that it is then not put on for good. What comes and goes on a node, such as
// room and ports, does not count: there the Pod waits.
func newFit(set *appsv1.DaemonSet) fit {
	template := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: *set.Spec.Template.Spec.DeepCopy()}
	tolerate(&template.Spec)
	pod := snapshot.NewPod(template)
	return fit{
		node: template.Spec.NodeName, affinity: plugins.NodeAffinity{}.Prepare(pod, nil), taints: plugins.TaintToleration{}.Prepare(pod, nil),
	}
}

// of says whether the node is to have a Pod (run), and whether one that it has may stay (stay): a NoSchedule taint keeps new Pods away and leaves those there
// are.
func (f fit) of(n *corev1.Node) (run, stay bool) {
	seen := &snapshot.Node{Object: n, Labels: n.Labels, Taints: n.Spec.Taints}
	if f.node != "" && f.node != n.Name || f.affinity != nil && !f.affinity.Passes(seen) {
		return false, false
	}
	if f.taints.Passes(seen) {
		return true, true
	}
	seen.Taints = slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectNoExecute })
	return false, f.taints.Passes(seen)
}

// daemonTolerations are those that every daemon has: what is wrong with a node is often the daemon's business, and its Pod cannot go elsewhere.
var daemonTolerations = []corev1.Toleration{
	{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodePIDPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
}

// tolerate adds what a daemon tolerates. A toleration of the template for the same taint, for a time only, gives way.
func tolerate(spec *corev1.PodSpec) {
	add := daemonTolerations
	if spec.HostNetwork { // it may be what brings up the network
		add = append(slices.Clone(add), corev1.Toleration{Key: corev1.TaintNodeNetworkUnavailable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	for _, t := range add {
		spec.Tolerations = slices.DeleteFunc(spec.Tolerations, func(o corev1.Toleration) bool { return o.MatchToleration(&t) })
		spec.Tolerations = append(spec.Tolerations, t)
	}
}

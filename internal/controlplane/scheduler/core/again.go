package core

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// turnedAway is the last Pod for which there was no node and no room, and the answer it got. Thousands of replicas that wait for the same room are woken
// together, and all but the first are answered by it.
type turnedAway struct {
	pod      *snapshot.Pod
	version  uint64
	decision Decision
}

// remember keeps an answer that depends on the Pod's own wishes and the snapshot's version alone: not on volumes or devices, nor on a promise of its own.
func (c *Scheduler) remember(pod *snapshot.Pod, s *snapshot.Snapshot, d Decision) {
	if d.Node == "" && d.Preempts == nil && !d.Awaits && !claims(pod) && s.NominatedNode(pod.Object.UID) == "" {
		c.last = turnedAway{pod, s.Version(), d}
	}
}

// claims says whether a Pod asks for what has objects of its own.
func claims(pod *snapshot.Pod) bool {
	return len(pod.Claims) > 0 || len(pod.Object.Spec.ResourceClaims) > 0
}

// again returns the answer to another Pod that wishes the same while nothing has changed.
func (c *Scheduler) again(pod *snapshot.Pod, s *snapshot.Snapshot) (Decision, bool) {
	l := &c.last
	if l.pod == nil || l.version != s.Version() || claims(pod) || s.NominatedNode(pod.Object.UID) != "" || !sameWishes(l.pod, pod) {
		return Decision{}, false
	}
	return l.decision, true
}

// sameWishes says whether no filter and no preemption can tell two Pods apart. It may be false where they could not either.
func sameWishes(a, b *snapshot.Pod) bool {
	x, y := &a.Object.Spec, &b.Object.Spec
	return a.Priority == b.Priority && a.Object.Namespace == b.Object.Namespace && a.Workload == b.Workload &&
		a.Requests.Equal(&b.Requests) && slices.Equal(a.Ports, b.Ports) &&
		maps.Equal(a.Object.Labels, b.Object.Labels) && maps.Equal(x.NodeSelector, y.NodeSelector) &&
		preempts(x) == preempts(y) &&
		apiequality.Semantic.DeepEqual(x.Tolerations, y.Tolerations) && apiequality.Semantic.DeepEqual(x.Affinity, y.Affinity) &&
		apiequality.Semantic.DeepEqual(x.TopologySpreadConstraints, y.TopologySpreadConstraints)
}

func preempts(spec *corev1.PodSpec) bool {
	return spec.PreemptionPolicy == nil || *spec.PreemptionPolicy != corev1.PreemptNever
}

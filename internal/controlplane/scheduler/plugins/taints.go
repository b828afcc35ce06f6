package plugins

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// TaintToleration turns away from nodes with a NoSchedule or NoExecute taint that the Pod does not tolerate.
type TaintToleration struct{}

var _ Filter = TaintToleration{}

// Name is the filter's name.
func (TaintToleration) Name() string { return "TaintToleration" }

// Prepare always applies: a Pod without tolerations tolerates nothing.
func (TaintToleration) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot) Check {
	return taintCheck{pod.Object.Spec.Tolerations}
}

// Concerns are what may take taints away.
func (TaintToleration) Concerns() Change { return Added | Taints }

// Helped by a node whose taints the Pod tolerates.
func (TaintToleration) Helped(pod *snapshot.Pod, e Event) bool {
	return e.Change&(Added|Taints) != 0 && taintCheck{pod.Object.Spec.Tolerations}.Passes(e.Node)
}

type taintCheck struct{ tolerations []corev1.Toleration }

func (c taintCheck) Passes(n *snapshot.Node) bool { return c.offending(n) == nil }

func (c taintCheck) Explain(n *snapshot.Node) []string {
	t := c.offending(n)
	return []string{fmt.Sprintf("node(s) had untolerated taint {%s: %s}", t.Key, t.Value)}
}

func (c taintCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for i := range n.Taints {
		if t := &n.Taints[i]; t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(c.tolerations, t) {
			out = append(out, fmt.Sprintf("taint %s is not tolerated: add %s to spec.tolerations", t.ToString(), toleration(t)))
		}
	}
	return out
}

func (taintCheck) Lasting(*snapshot.Node) bool { return true }

// toleration writes, as YAML, the narrowest toleration of a taint.
func toleration(t *corev1.Taint) string {
	if t.Value == "" {
		return fmt.Sprintf("{key: %s, operator: Exists, effect: %s}", t.Key, t.Effect)
	}
	return fmt.Sprintf("{key: %s, operator: Equal, value: %q, effect: %s}", t.Key, t.Value, t.Effect)
}

func (c taintCheck) offending(n *snapshot.Node) *corev1.Taint {
	taints := n.Taints
	for i := range taints {
		if taints[i].Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(c.tolerations, &taints[i]) {
			return &taints[i]
		}
	}
	return nil
}

// TaintPreference prefers nodes with few PreferNoSchedule taints that the Pod does not tolerate.
type TaintPreference struct{}

var _ Score = TaintPreference{}

// Name is the score's name.
func (TaintPreference) Name() string { return "TaintToleration" }

// Prepare counts, and has no preference where no node has such a taint.
func (TaintPreference) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot, nodes []*snapshot.Node) Rating {
	count := func(n *snapshot.Node) (bad int64) {
		taints := n.Taints
		for i := range taints {
			if taints[i].Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(pod.Object.Spec.Tolerations, &taints[i]) {
				bad++
			}
		}
		return bad
	}
	return fewest(nodes, count)
}

// fewest rates nodes by how far their count is below the highest one; nil if all counts are 0.
func fewest(nodes []*snapshot.Node, count func(*snapshot.Node) int64) Rating {
	var most int64
	for _, n := range nodes {
		most = max(most, count(n))
	}
	if most == 0 {
		return nil
	}
	return func(n *snapshot.Node) int64 { return MaxRating * (most - min(most, count(n))) / most }
}

package plugins

import (
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// NodeAffinity turns away from nodes that spec.nodeSelector or the required node affinity do not select.
type NodeAffinity struct{}

var _ Filter = NodeAffinity{}

// Name is the filter's name.
func (NodeAffinity) Name() string { return "NodeAffinity" }

// Prepare applies to Pods that select their nodes.
func (NodeAffinity) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot) Check {
	spec := &pod.Object.Spec
	if len(spec.NodeSelector) == 0 && (spec.Affinity == nil || spec.Affinity.NodeAffinity == nil ||
		spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil) {
		return nil
	}
	return affinityCheck{nodeaffinity.GetRequiredNodeAffinity(pod.Object)}
}

// Helped by a node that the Pod selects.
func (f NodeAffinity) Helped(pod *snapshot.Pod, e Event) bool {
	if e.Change&(Added|Labels) == 0 {
		return false
	}
	c := f.Prepare(pod, nil)
	return c == nil || c.Passes(e.Node)
}

type affinityCheck struct {
	required nodeaffinity.RequiredNodeAffinity
}

func (c affinityCheck) Passes(n *snapshot.Node) bool {
	ok, err := c.required.Match(n.Object)
	return ok && err == nil // an expression that cannot be read selects nothing; the API server refuses it
}

func (affinityCheck) Explain(*snapshot.Node) []string {
	return []string{"node(s) didn't match Pod's node affinity/selector"}
}

// AffinityPreference prefers nodes by the weights of the preferred node affinity.
type AffinityPreference struct{}

var _ Score = AffinityPreference{}

// Name is the score's name.
func (AffinityPreference) Name() string { return "AffinityPreference" }

// Prepare applies to Pods that state preferences.
func (AffinityPreference) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot, nodes []*snapshot.Node) Rating {
	a := pod.Object.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return nil
	}
	weight := func(n *snapshot.Node) int64 { return terms.Score(n.Object) }
	return most(nodes, weight)
}

// most rates nodes by their share of the highest value; nil if all are 0.
func most(nodes []*snapshot.Node, value func(*snapshot.Node) int64) Rating {
	var highest int64
	for _, n := range nodes {
		highest = max(highest, value(n))
	}
	if highest == 0 {
		return nil
	}
	return func(n *snapshot.Node) int64 { return MaxRating * value(n) / highest }
}

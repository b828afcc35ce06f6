package plugins

import "github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"

// WorkloadSpread prefers nodes, and then zones, with few replicas of the Pod's own workload, so that a node or a zone that fails takes few with it.
//
// A workload is told by its controller, all revisions of a Deployment together. Pods of one Service but of different controllers are not
// spread over each other: they are different things to the one who deployed them.
type WorkloadSpread struct{}

var _ Score = WorkloadSpread{}

// Name is the score's name.
func (WorkloadSpread) Name() string { return "WorkloadSpread" }

// Prepare applies to replicated Pods that do not say themselves how they want to be spread.
func (WorkloadSpread) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot, nodes []*snapshot.Node) Rating {
	w := pod.Workload
	if w == "" || len(pod.Object.Spec.TopologySpreadConstraints) > 0 {
		return nil
	}
	byNode := fewest(nodes, func(n *snapshot.Node) int64 { return int64(n.Workloads[w]) })
	if byNode == nil || s.Zones() < 2 {
		return byNode
	}
	byZone := fewest(nodes, func(n *snapshot.Node) int64 { return int64(s.InZone(n.Zone, w)) })
	if byZone == nil {
		return byNode
	}
	// Zones count twice: within the emptiest zone the emptiest node wins, not the other way round.
	return func(n *snapshot.Node) int64 { return (byNode(n) + 2*byZone(n)) / 3 }
}

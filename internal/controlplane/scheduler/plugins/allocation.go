package plugins

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Strategy is which nodes Allocation prefers.
type Strategy string

// Strategies, under the names of NodeResourcesFitArgs.scoringStrategy.type.
const (
	LeastAllocated Strategy = "LeastAllocated" // with the largest share left, so that load spreads
	MostAllocated  Strategy = "MostAllocated"  // with the smallest share left, so that nodes stay empty and can be given up
	// RequestedToCapacityRatio rates by Shape.
	RequestedToCapacityRatio Strategy = "RequestedToCapacityRatio"
)

// Point of a curve: the rating of a node of which that share, in percent, would be taken.
type Point struct{ Taken, Rating int64 }

// Allocation prefers nodes by the share of their resources that would be taken.
type Allocation struct {
	Strategy Strategy
	Weights  map[corev1.ResourceName]int64 // what each resource counts; CPU and memory alike if it is empty
	Shape    []Point                       // by rising share; between two points ratings lie on the line
}

var _ Score = Allocation{}

// Name is the score's name.
func (Allocation) Name() string { return "NodeResourcesFit" }

// Prepare always has a preference.
func (a Allocation) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot, _ []*snapshot.Node) Rating {
	share := left
	switch a.Strategy {
	case MostAllocated:
		share = taken
	case RequestedToCapacityRatio:
		share = func(used, have int64) int64 { return along(a.Shape, taken(used, have)) }
	}
	if len(a.Weights) == 0 {
		w := &pod.Weight
		return func(n *snapshot.Node) int64 {
			return (share(n.Weight.MilliCPU+w.MilliCPU, n.Allocatable.MilliCPU) + share(n.Weight.Memory+w.Memory, n.Allocatable.Memory)) / 2
		}
	}
	names := slices.Sorted(maps.Keys(a.Weights))
	return func(n *snapshot.Node) int64 {
		var sum, weights int64
		for _, name := range names {
			used, have := use(n, pod, name)
			if have == 0 {
				continue // the node has none of it: that is neither good nor bad
			}
			sum += a.Weights[name] * share(used, have)
			weights += a.Weights[name]
		}
		if weights == 0 {
			return 0
		}
		return sum / weights
	}
}

// use is how much of a resource would be taken with the Pod, and how much there is.
func use(n *snapshot.Node, pod *snapshot.Pod, name corev1.ResourceName) (used, have int64) {
	switch name {
	case corev1.ResourceCPU:
		return n.Weight.MilliCPU + pod.Weight.MilliCPU, n.Allocatable.MilliCPU
	case corev1.ResourceMemory:
		return n.Weight.Memory + pod.Weight.Memory, n.Allocatable.Memory
	case corev1.ResourceEphemeralStorage:
		return n.Requested.Storage + pod.Requests.Storage, n.Allocatable.Storage
	case corev1.ResourcePods:
		return n.Requested.Pods + pod.Requests.Pods, n.Allocatable.Pods
	}
	return n.Requested.Extended[name] + pod.Requests.Extended[name], n.Allocatable.Extended[name]
}

// left is the share that is not used, from 0 to MaxRating.
func left(used, have int64) int64 {
	if have <= 0 || used >= have {
		return 0
	}
	return (have - used) * MaxRating / have
}

// taken is the share that is used, from 0 to MaxRating. A node that is overcommitted by what is assumed of Pods without requests is full.
func taken(used, have int64) int64 {
	if have <= 0 {
		return 0
	}
	return min(used, have) * MaxRating / have
}

// along is the rating of a share on a curve.
func along(shape []Point, share int64) int64 {
	for i, p := range shape {
		if share > p.Taken {
			continue
		}
		if i == 0 {
			return p.Rating
		}
		from := shape[i-1]
		return from.Rating + (p.Rating-from.Rating)*(share-from.Taken)/(p.Taken-from.Taken)
	}
	return shape[len(shape)-1].Rating
}

// Balanced prefers nodes whose CPU and memory would be used to like shares, so that neither is left over without the other.
type Balanced struct{}

var _ Score = Balanced{}

// Name is the score's name.
func (Balanced) Name() string { return "NodeResourcesBalancedAllocation" }

// Prepare has no preference about a Pod that requests nothing: it unbalances nothing.
func (Balanced) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot, _ []*snapshot.Node) Rating {
	w := &pod.Requests
	if w.MilliCPU == 0 && w.Memory == 0 {
		return nil
	}
	return func(n *snapshot.Node) int64 {
		gap := left(n.Requested.MilliCPU+w.MilliCPU, n.Allocatable.MilliCPU) - left(n.Requested.Memory+w.Memory, n.Allocatable.Memory)
		return MaxRating - max(gap, -gap)
	}
}

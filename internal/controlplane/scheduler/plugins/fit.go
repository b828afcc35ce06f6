package plugins

import (
	"sort"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Fit turns away from nodes that have not enough left of what the Pod requests.
type Fit struct{}

var _ Filter = Fit{}

// Name is the filter's name.
func (Fit) Name() string { return "NodeResourcesFit" }

// Prepare always applies: every Pod takes one of the Pods a node can run.
func (Fit) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot) Check { return fitCheck{&pod.Requests} }

// Helped by a node that has enough now.
func (Fit) Helped(pod *snapshot.Pod, e Event) bool {
	return e.Change&(Added|Allocatable|PodGone) != 0 && fitCheck{&pod.Requests}.Passes(e.Node)
}

type fitCheck struct{ want *snapshot.Resources }

func (c fitCheck) Passes(n *snapshot.Node) bool {
	w, have, used := c.want, &n.Allocatable, &n.Requested
	// A resource that is not requested is not looked at: a node may be overcommitted in it by Pods that were bound by hand.
	if used.Pods+w.Pods > have.Pods ||
		w.MilliCPU > 0 && used.MilliCPU+w.MilliCPU > have.MilliCPU ||
		w.Memory > 0 && used.Memory+w.Memory > have.Memory ||
		w.Storage > 0 && used.Storage+w.Storage > have.Storage {
		return false
	}
	for name, want := range w.Extended {
		if want > 0 && used.Extended[name]+want > have.Extended[name] {
			return false
		}
	}
	return true
}

func (c fitCheck) Explain(n *snapshot.Node) []string {
	w, have, used := c.want, &n.Allocatable, &n.Requested
	var out []string
	if used.Pods+w.Pods > have.Pods {
		out = append(out, "Too many pods")
	}
	short := func(name string, want, used, have int64) {
		if want > 0 && used+want > have {
			out = append(out, "Insufficient "+name)
		}
	}
	short("cpu", w.MilliCPU, used.MilliCPU, have.MilliCPU)
	short("memory", w.Memory, used.Memory, have.Memory)
	short("ephemeral-storage", w.Storage, used.Storage, have.Storage)
	base := len(out)
	for name, want := range w.Extended {
		short(string(name), want, used.Extended[name], have.Extended[name])
	}
	sort.Strings(out[base:])
	return out
}

// LeastAllocated prefers nodes with the largest share of CPU and memory left, so that load spreads.
type LeastAllocated struct{}

var _ Score = LeastAllocated{}

// Name is the score's name.
func (LeastAllocated) Name() string { return "LeastAllocated" }

// Prepare always has a preference.
func (LeastAllocated) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot, _ []*snapshot.Node) Rating {
	w := &pod.Weight
	return func(n *snapshot.Node) int64 {
		return (left(n.Weight.MilliCPU+w.MilliCPU, n.Allocatable.MilliCPU) + left(n.Weight.Memory+w.Memory, n.Allocatable.Memory)) / 2
	}
}

// left is the share that is not used, from 0 to MaxRating.
func left(used, have int64) int64 {
	if have <= 0 || used >= have {
		return 0
	}
	return (have - used) * MaxRating / have
}

// Balanced prefers nodes whose CPU and memory would be used to like shares, so that neither is left over without the other.
type Balanced struct{}

var _ Score = Balanced{}

// Name is the score's name.
func (Balanced) Name() string { return "Balanced" }

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

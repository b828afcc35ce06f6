package plugins

import "github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"

// Filter decides whether nodes can run a Pod.
//
// For each Pod the scheduler calls Prepare once. The Check it returns is then asked about nodes one after another, and thrown away with the
// decision. When no node passed, Explain is asked about each node that this filter turned away, and the Pod waits. Helped is then asked
// about every change in the cluster, until it says yes for one of the filters that turned the Pod away.
type Filter interface {
	// Name is the filter's name in logs and results.
	Name() string
	// Prepare looks at the Pod alone and returns nil if the filter has nothing to say about it.
	Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check
	// Concerns are the changes about which Helped has to be asked. Of all others it would say no.
	Concerns() Change
	// Helped says whether a Pod that this filter turned away might pass after the event. No is a promise: the Pod is not looked at again for it.
	Helped(pod *snapshot.Pod, e Event) bool
}

// Check answers for one Pod.
type Check interface {
	// Passes says whether the node can run the Pod. It is called for thousands of nodes in a row and should not allocate.
	Passes(n *snapshot.Node) bool
	// Explain says why a node does not pass, one short reason for each thing that is wrong, so that equal reasons of many nodes can be counted.
	Explain(n *snapshot.Node) []string
	// Remedies say the same to somebody who wants to change it: in figures and names, and with what would let the node pass. One line for each thing.
	Remedies(n *snapshot.Node) []string
	// Lasting says that the node, which does not pass, would not pass either if Pods left it: preemption is of no use there.
	Lasting(n *snapshot.Node) bool
}

// Refused is the Check of a Pod that no node can run, as the Pod is: nodes are not asked.
type Refused struct {
	Reason, Remedy string
}

var _ Check = (*Refused)(nil)

// Passes is false.
func (*Refused) Passes(*snapshot.Node) bool { return false }

// Explain gives the reason.
func (r *Refused) Explain(*snapshot.Node) []string { return []string{r.Reason} }

// Remedies give the remedy.
func (r *Refused) Remedies(*snapshot.Node) []string { return []string{r.Remedy} }

// Lasting is true.
func (*Refused) Lasting(*snapshot.Node) bool { return true }

// Narrowing is a Filter that can name the nodes that may pass, so that thousands of others need not be asked.
type Narrowing interface {
	Filter
	// Only returns the names, and false if there may be others.
	Only(pod *snapshot.Pod) ([]string, bool)
}

// Score compares nodes that can all run the Pod.
type Score interface {
	Name() string
	// Prepare looks at the Pod and at the nodes in question, and returns nil if the score has no preference among them.
	Prepare(pod *snapshot.Pod, s *snapshot.Snapshot, nodes []*snapshot.Node) Rating
}

// Rating rates a node from 0 (worst) to MaxRating (best).
type Rating func(n *snapshot.Node) int64

// MaxRating is the best that one score can give.
const MaxRating = 100

// Weighted is a score and how much it counts.
type Weighted struct {
	Score
	Weight int64
}

// Change is what about a node changed.
type Change uint

// Changes of a node; several may come at once.
const (
	Added       Change = 1 << iota // it is new, or back
	Labels                         // its labels
	Taints                         // its taints, or whether it takes Pods at all
	Allocatable                    // what it offers
	PodGone                        // a Pod on it ended or was deleted
	PodPlaced                      // a Pod was put on it
	Namespaces                     // no node, but the labels of a namespace
	Removed                        // it is gone
	Claims                         // no node, but a PersistentVolumeClaim
	Storage                        // no node, but a PersistentVolume, a StorageClass, storage drivers or what they have left
	Devices                        // no node, but a ResourceClaim, a ResourceSlice or a DeviceClass
)

// String is the change's name in metrics; of several at once the first that there is.
func (c Change) String() string {
	for i, name := range []string{
		"NodeAdd", "UpdateNodeLabel", "UpdateNodeTaint", "UpdateNodeAllocatable", "AssignedPodDelete", "AssignedPodAdd", "NamespaceUpdate", "NodeDelete", "PersistentVolumeClaimUpdate", "StorageUpdate", "DeviceUpdate",
	} {
		if c&(1<<i) != 0 {
			return name
		}
	}
	return ""
}

// Event is a change in the cluster that might let a waiting Pod run.
type Event struct {
	Change Change
	Node   *snapshot.Node // as it is now; nil if no node changed
	Pod    *snapshot.Pod  // for PodGone and PodPlaced
	Claim  string         // for Claims: namespace/name
}

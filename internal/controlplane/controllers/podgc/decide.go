package podgc

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// Quarantine is how long a Pod may name a Node that does not exist. After the loss of etcd Pods may be back before their Node has registered again,
// and must not be lost for it.
const Quarantine = 40 * time.Second

// DefaultKept is how many finished Pods are kept by default.
const DefaultKept = 12500

// Observed is what a decision about one Pod rests on.
type Observed struct {
	Pod     *corev1.Pod
	Node    *corev1.Node  // nil when it does not exist
	Missing time.Duration // for how long the Node has been missed
}

// Verdict is what is to be done about one Pod.
type Verdict struct {
	Delete  bool
	Reason  string        // why, in words
	Confirm bool          // make sure first that the Node does not exist: the cache may be late
	Recheck time.Duration // when to look again without an event
}

// Decide looks at one Pod.
func Decide(o Observed) Verdict {
	p := o.Pod
	switch {
	case p.Spec.NodeName == "" && p.DeletionTimestamp != nil:
		return Verdict{Delete: true, Reason: "it was being deleted and had never been bound to a node"}
	case p.Spec.NodeName == "":
		return Verdict{}
	case o.Node == nil && o.Missing < Quarantine:
		return Verdict{Recheck: Quarantine - o.Missing}
	case o.Node == nil:
		return Verdict{Delete: true, Reason: "its node " + p.Spec.NodeName + " no longer exists", Confirm: true}
	case podstate.Terminating(p) && outOfService(o.Node):
		return Verdict{Delete: true, Reason: "its node " + p.Spec.NodeName + " is not ready and declared out of service"}
	}
	return Verdict{}
}

// outOfService says that somebody who knows has declared the machine off, by the taint for it, and that it looks so.
func outOfService(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return false
		}
	}
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeOutOfService {
			return true
		}
	}
	return false
}

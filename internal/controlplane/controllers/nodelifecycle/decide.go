package nodelifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// Reasons and words that users know from kubectl describe node.
const (
	reasonStopped = "NodeStatusUnknown"
	reasonNever   = "NodeStatusNeverUpdated"
	textStopped   = "Kubelet stopped posting node status."
	textNever     = "Kubelet never posted node status."
)

// Observed is everything a decision about one Node rests on.
type Observed struct {
	Node      *corev1.Node
	Pods      []*corev1.Pod        // bound to it
	Heartbeat time.Time            // when a sign of life was last seen
	TaintSeen map[string]time.Time // when a NoExecute taint was first seen, by key; for taints without timeAdded
	Total     bool                 // no Node at all is ready: the fault is likely on this side, and Pods that are moved would have nowhere to go
	Turn      bool                 // the zone's rate allows that the Pods of one more Node are told to go: this one's
	Grace     time.Duration        // silence after which a Node is given up
	Now       time.Time
}

// Actions is what is to be done about one Node.
type Actions struct {
	Conditions  []corev1.NodeCondition // to be written into its status
	Taints      []corev1.Taint         // what spec.taints should be
	WriteTaints bool                   // Taints differs from what is
	NotReady    []*corev1.Pod          // to be marked not ready
	Evict       []*corev1.Pod          // to be deleted
	AwaitsTurn  bool                   // with a Turn, Pods would be told to go
	Recheck     time.Duration          // when to look again without an event; 0 never
}

// Decide looks at one Node.
func Decide(o Observed) Actions {
	var a Actions
	recheck := func(d time.Duration) {
		if d > 0 && (a.Recheck == 0 || d < a.Recheck) {
			a.Recheck = d
		}
	}
	silentAt := o.Heartbeat.Add(o.Grace)
	silent := !o.Now.Before(silentAt)
	if silent {
		a.Conditions = unknown(o.Node, o.Now)
	} else {
		recheck(silentAt.Sub(o.Now))
	}
	ready := statusOf(o.Node, a.Conditions, corev1.NodeReady)

	a.Taints, a.WriteTaints, a.AwaitsTurn = taints(o, a.Conditions, ready)
	for _, p := range o.Pods {
		if podstate.Finished(p) {
			continue
		}
		if ready == corev1.ConditionUnknown && podstate.Ready(p) {
			a.NotReady = append(a.NotReady, p)
		}
		if p.DeletionTimestamp != nil {
			continue
		}
		deadline, ok := evictAt(o, a.Taints, p)
		switch {
		case !ok:
		case !deadline.After(o.Now):
			a.Evict = append(a.Evict, p)
		default:
			recheck(deadline.Sub(o.Now))
		}
	}
	return a
}

// reported are the conditions that only the node itself can know.
var reported = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// unknown are the conditions of a silent Node that still say something.
func unknown(n *corev1.Node, now time.Time) []corev1.NodeCondition {
	var out []corev1.NodeCondition
	for _, t := range reported {
		c := corev1.NodeCondition{Type: t, Status: corev1.ConditionUnknown, Reason: reasonNever, Message: textNever, LastTransitionTime: metav1.NewTime(now)}
		if was := find(n.Status.Conditions, t); was != nil {
			if was.Status == corev1.ConditionUnknown {
				continue
			}
			c.Reason, c.Message, c.LastHeartbeatTime = reasonStopped, textStopped, was.LastHeartbeatTime
		} else {
			c.LastHeartbeatTime = n.CreationTimestamp
		}
		out = append(out, c)
	}
	return out
}

func find(conditions []corev1.NodeCondition, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range conditions {
		if conditions[i].Type == t {
			return &conditions[i]
		}
	}
	return nil
}

// statusOf is what a condition says once changed are written. A Node that has not said yet whether it is ready is not.
func statusOf(n *corev1.Node, changed []corev1.NodeCondition, t corev1.NodeConditionType) corev1.ConditionStatus {
	if c := find(changed, t); c != nil {
		return c.Status
	}
	if c := find(n.Status.Conditions, t); c != nil {
		return c.Status
	}
	if t == corev1.NodeReady {
		return corev1.ConditionFalse
	}
	return corev1.ConditionUnknown
}

package register

import (
	"cmp"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Observed is what a node's conditions are decided from.
type Observed struct {
	Runtime      string                 // why containerd cannot be used; empty when it can
	Network      string                 // why Pods cannot be given addresses; empty when they can
	ShuttingDown bool                   // the host is about to go down
	Pressure     []v1.NodeConditionType // what the node is short of
}

// Conditions decides the node's conditions; before are the ones last reported, whose transition times stay while nothing changes.
func Conditions(o Observed, before []v1.NodeCondition, now time.Time) []v1.NodeCondition {
	cond := func(t v1.NodeConditionType, bad bool, badReason, badText, goodReason, goodText string) v1.NodeCondition {
		c := v1.NodeCondition{Type: t, Status: v1.ConditionFalse, Reason: goodReason, Message: goodText}
		if bad {
			c.Status, c.Reason, c.Message = v1.ConditionTrue, badReason, badText
		}
		return c
	}
	list := []v1.NodeCondition{
		cond(v1.NodeMemoryPressure, slices.Contains(o.Pressure, v1.NodeMemoryPressure), "KubeletHasInsufficientMemory", "kubelet has insufficient memory available",
			"KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		cond(v1.NodeDiskPressure, slices.Contains(o.Pressure, v1.NodeDiskPressure), "KubeletHasDiskPressure", "kubelet has disk pressure",
			"KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		cond(v1.NodePIDPressure, slices.Contains(o.Pressure, v1.NodePIDPressure), "KubeletHasInsufficientPID", "kubelet has insufficient PID available",
			"KubeletHasSufficientPID", "kubelet has sufficient PID available"),
	}
	ready := v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", Message: "node is posting ready status"}
	why := cmp.Or(o.Runtime, o.Network)
	if o.ShuttingDown {
		why = "node is shutting down"
	}
	if why != "" {
		ready.Status, ready.Reason, ready.Message = v1.ConditionFalse, "KubeletNotReady", why
	}
	list = append(list, ready)
	for i := range list {
		c := &list[i]
		c.LastHeartbeatTime = metav1.Time{Time: now.Truncate(time.Second)}
		c.LastTransitionTime = c.LastHeartbeatTime
		for _, b := range before {
			if b.Type == c.Type && b.Status == c.Status {
				c.LastTransitionTime = b.LastTransitionTime
			}
		}
	}
	return list
}

// changed says whether anything but the heartbeat differs.
func changed(a, b []v1.NodeCondition) bool {
	if len(a) != len(b) {
		return true
	}
	for i := range a {
		if a[i].Type != b[i].Type || a[i].Status != b[i].Status || a[i].Reason != b[i].Reason {
			return true
		}
	}
	return false
}

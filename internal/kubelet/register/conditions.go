package register

import (
	"cmp"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Observed is what a node's conditions are decided from.
type Observed struct {
	Runtime              string // why containerd cannot be used; empty when it can
	Network              string // why Pods cannot be given addresses; empty when they can
	ShuttingDown         bool   // the host is about to go down
	MemoryAvailable      uint64 // bytes
	DiskTotal, DiskFree  uint64
	Processes, PIDsLimit int
}

// From when on a node counts as short of something: upstream's defaults for hard eviction.
const (
	minMemory  = 100 << 20
	minDisk    = 10 // percent
	minPIDs    = 5  // percent
	percentage = 100
)

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
		cond(v1.NodeMemoryPressure, o.MemoryAvailable < minMemory, "KubeletHasInsufficientMemory", fmt.Sprintf("%d MiB of memory are available, fewer than %d", o.MemoryAvailable>>20, minMemory>>20),
			"KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		cond(v1.NodeDiskPressure, o.DiskTotal > 0 && o.DiskFree*percentage < o.DiskTotal*minDisk, "KubeletHasDiskPressure", fmt.Sprintf("%d MiB of disk are free, less than %d%%", o.DiskFree>>20, minDisk),
			"KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		cond(v1.NodePIDPressure, o.PIDsLimit > 0 && (o.PIDsLimit-o.Processes)*percentage < o.PIDsLimit*minPIDs, "KubeletHasInsufficientPID", fmt.Sprintf("%d of %d processes exist", o.Processes, o.PIDsLimit),
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

package eviction

import (
	"cmp"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/gitopsd/gitopsd/internal/kubelet/shutdown"
	"github.com/gitopsd/gitopsd/internal/kubelet/static"
)

// rank orders the Pods that may be ended for want of a signal, the first to go first: those that use more than they requested, then by priority, then by
// how much more. Of process numbers and inodes nothing can be requested: there it is priority, then use. Critical Pods are not ended.
func rank(s Signal, pods []Pod) []Pod {
	name := meanings[s].resource
	out := slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool { return critical(p.Pod) })
	over := func(p Pod) int64 { return p.used(name) - requested(p.Pod, name) }
	slices.SortStableFunc(out, func(a, b Pod) int {
		if name == v1.ResourceMemory || name == v1.ResourceEphemeralStorage {
			if x, y := over(a) > 0, over(b) > 0; x != y {
				if x {
					return -1
				}
				return 1
			}
		}
		return cmp.Or(
			cmp.Compare(priority(a.Pod), priority(b.Pod)),
			cmp.Compare(over(b), over(a)),
			cmp.Compare(a.UID, b.UID),
		)
	})
	return out
}

func (p Pod) used(name v1.ResourceName) int64 {
	switch name {
	case v1.ResourceMemory:
		return p.Use.Memory
	case v1.ResourceEphemeralStorage:
		return p.Use.disk()
	case "inodes":
		return p.Use.Inodes
	}
	return p.Use.Processes
}

func requested(pod *v1.Pod, name v1.ResourceName) int64 {
	q := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})[name]
	return q.Value()
}

func priority(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// critical says whether a node is to keep a Pod whatever is short: static ones, which their UIDs tell, for annotations are anybody's to write, and those of the
// classes system-cluster-critical and system-node-critical.
func critical(pod *v1.Pod) bool {
	return static.IsUID(pod.UID) || priority(pod) >= shutdown.Critical
}

// LimitsDisk says whether a Pod's use of the disk must be known to keep it within its limits.
func LimitsDisk(pod *v1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if e := pod.Spec.Volumes[i].EmptyDir; e != nil && e.Medium == v1.StorageMediumDefault && e.SizeLimit != nil && !e.SizeLimit.IsZero() {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if _, ok := pod.Spec.Containers[i].Resources.Limits[v1.ResourceEphemeralStorage]; ok {
			return true
		}
	}
	return false
}

// exceeds says how a Pod uses more local disk than it may; empty if it does not.
func exceeds(p Pod) string {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.Medium != v1.StorageMediumDefault || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.IsZero() {
			continue
		}
		if p.Use.EmptyDirs[v.Name] > v.EmptyDir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
		}
	}
	limits := resourcehelper.PodLimits(p.Pod, resourcehelper.PodResourcesOptions{})
	if limit, ok := limits[v1.ResourceEphemeralStorage]; ok && p.Use.disk() > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		limit, ok := c.Resources.Limits[v1.ResourceEphemeralStorage]
		if ok && p.Use.Containers[c.Name].Disk > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String())
		}
	}
	return ""
}

// Admit says why a node under pressure turns a Pod away; empty if it takes it. Short of memory alone, it takes whoever requested some.
func Admit(pod *v1.Pod, class v1.PodQOSClass, pressure []v1.NodeConditionType) string {
	if len(pressure) == 0 || critical(pod) {
		return ""
	}
	if slices.Equal(pressure, []v1.NodeConditionType{v1.NodeMemoryPressure}) {
		if class != v1.PodQOSBestEffort {
			return ""
		}
		for i := range pod.Spec.Tolerations {
			t := &pod.Spec.Tolerations[i]
			if (t.Key == v1.TaintNodeMemoryPressure || t.Key == "" && t.Operator == v1.TolerationOpExists) && (t.Effect == "" || t.Effect == v1.TaintEffectNoSchedule) {
				return ""
			}
		}
	}
	return fmt.Sprintf("Pod was rejected: The node had condition: %v. ", pressure)
}

package snapshot

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Resources are amounts in the units that nodes are filled by: the hot path adds and compares integers, not quantities.
type Resources struct {
	MilliCPU int64
	Memory   int64 // bytes
	Storage  int64 // bytes of ephemeral storage
	Pods     int64
	Extended map[corev1.ResourceName]int64 // huge pages and everything devices offer; nil when there is none
}

func resourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Storage = q.Value()
		case corev1.ResourcePods:
			r.Pods = q.Value()
		default:
			if r.Extended == nil {
				r.Extended = map[corev1.ResourceName]int64{}
			}
			r.Extended[name] = q.Value()
		}
	}
	return r
}

// Equal says whether both are the same amounts.
func (r *Resources) Equal(o *Resources) bool {
	return r.MilliCPU == o.MilliCPU && r.Memory == o.Memory && r.Storage == o.Storage && r.Pods == o.Pods && maps.Equal(r.Extended, o.Extended)
}

// add adds times × o; times is 1 or -1.
func (r *Resources) add(o *Resources, times int64) {
	r.MilliCPU += times * o.MilliCPU
	r.Memory += times * o.Memory
	r.Storage += times * o.Storage
	r.Pods += times * o.Pods
	for name, n := range o.Extended {
		if r.Extended == nil {
			r.Extended = map[corev1.ResourceName]int64{}
		}
		r.Extended[name] += times * n
	}
}

// What a container that requests nothing is taken to use when nodes are compared, so that such Pods spread too. It never counts against a node's capacity.
const (
	assumedMilliCPU = 100
	assumedMemory   = 200 << 20
)

var assumedRequests = corev1.ResourceList{
	corev1.ResourceCPU:    *resource.NewMilliQuantity(assumedMilliCPU, resource.DecimalSI),
	corev1.ResourceMemory: *resource.NewQuantity(assumedMemory, resource.BinarySI),
}

// requestsOf are the Pod's effective requests: containers, init containers, sidecars, overhead and Pod-level ones, and while a resize is under way the
// larger of what is and what will be.
func requestsOf(pod *corev1.Pod) Resources {
	r := resourcesOf(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true}))
	r.Pods = 1
	return r
}

func weightOf(pod *corev1.Pod) Resources {
	r := resourcesOf(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true, NonMissingContainerRequests: assumedRequests}))
	return Resources{MilliCPU: r.MilliCPU, Memory: r.Memory}
}

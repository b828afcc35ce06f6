package lifecycle

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Resources are what a Pod's containers, by name, and the Pod itself request and are limited to.
type Resources struct {
	Containers map[string]v1.ResourceRequirements `json:"containers,omitempty"`
	Pod        *v1.ResourceRequirements           `json:"pod,omitempty"`
}

// ResourcesOf gives the resources that a Pod's spec asks for. Ephemeral containers have none.
func ResourcesOf(spec *v1.PodSpec) *Resources {
	r := &Resources{Containers: make(map[string]v1.ResourceRequirements, len(spec.InitContainers)+len(spec.Containers)), Pod: spec.Resources}
	for _, list := range [][]v1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			r.Containers[list[i].Name] = list[i].Resources
		}
	}
	return r
}

// Equal says whether both are the same amounts.
func (r *Resources) Equal(o *Resources) bool { return equality.Semantic.DeepEqual(r, o) }

// In gives the Pod with these resources in place of its spec's; the Pod itself is not changed.
func (r *Resources) In(pod *v1.Pod) *v1.Pod {
	out := *pod
	out.Spec.Resources = r.Pod
	with := func(list []v1.Container) []v1.Container {
		list = append([]v1.Container(nil), list...)
		for i := range list {
			if have, ok := r.Containers[list[i].Name]; ok {
				list[i].Resources = have
			}
		}
		return list
	}
	out.Spec.InitContainers, out.Spec.Containers = with(pod.Spec.InitContainers), with(pod.Spec.Containers)
	return &out
}

// Refusal is why a node does not give a Pod the resources that its spec asks for.
type Refusal struct {
	Reason  string // v1.PodReasonDeferred: there is no room now; v1.PodReasonInfeasible: there never will be
	Message string
}

// Resize is where a change of the resources of a Pod that the node has taken stands (KEP-1287). The zero value is that of a Pod that was never resized.
//
// What the spec asks for is first allocated, or refused. What is allocated is then made true: of the Pod's control group and of its running containers,
// one by one. Each container says itself what it runs with (Container.Resources).
type Resize struct {
	Allocated *Resources // what the node has given; nil: what the spec asks for
	Group     *Resources // what the Pod's control group was last set for; nil: what is allocated
	Refused   *Refusal   // why what the spec asks for is not allocated
	Busy      bool       // it is being carried out
	Failure   *Failure   // why carrying it out failed last
}

package spec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// resources limits and weights a container's control group.
func resources(h Host, c *v1.Container) *specs.LinuxResources {
	request, limit := c.Resources.Requests, c.Resources.Limits
	milli := request.Cpu().MilliValue()
	if request.Cpu().IsZero() {
		milli = limit.Cpu().MilliValue()
	}
	shares := cgroup.Shares(milli)
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	if l := limit.Cpu(); !l.IsZero() {
		quota, period := cgroup.Quota(l.MilliValue()), uint64(cgroup.CFSPeriod)
		r.CPU.Quota, r.CPU.Period = &quota, &period
	}
	if l := limit.Memory(); !l.IsZero() {
		bytes := l.Value()
		r.Memory = &specs.LinuxMemory{Limit: &bytes}
		if h.Unified {
			// Whoever of a container is over its limit, the whole container is: half of one is of no use to anybody (memory.oom.group).
			r.Unified = map[string]string{"memory.oom.group": "1"}
		}
	}
	return r
}

// Update is what a running container's group is changed to. Unlike one that is made, it says what is not limited, too.
func Update(h Host, c *v1.Container) *specs.LinuxResources {
	r := resources(h, c)
	none := int64(-1)
	if r.CPU.Quota == nil {
		period := uint64(cgroup.CFSPeriod)
		r.CPU.Quota, r.CPU.Period = &none, &period
	}
	if r.Memory == nil {
		r.Memory = &specs.LinuxMemory{Limit: &none}
	}
	return r
}

// PodLimits sums up what a Pod's containers may use together. Where one container has no limit, the Pod has none.
func PodLimits(pod *v1.Pod) cgroup.Limits {
	var l cgroup.Limits
	cpuLimited, memoryLimited := true, true
	for i := range pod.Spec.Containers {
		r := pod.Spec.Containers[i].Resources
		l.MilliCPU += r.Requests.Cpu().MilliValue()
		l.MilliCPULimit += r.Limits.Cpu().MilliValue()
		l.Memory += r.Limits.Memory().Value()
		cpuLimited = cpuLimited && !r.Limits.Cpu().IsZero()
		memoryLimited = memoryLimited && !r.Limits.Memory().IsZero()
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		r := c.Resources
		// One may use more than all that run later; a sidecar runs beside them.
		if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			l.MilliCPU += r.Requests.Cpu().MilliValue()
			l.MilliCPULimit += r.Limits.Cpu().MilliValue()
			l.Memory += r.Limits.Memory().Value()
		} else {
			l.MilliCPU = max(l.MilliCPU, r.Requests.Cpu().MilliValue())
			l.MilliCPULimit = max(l.MilliCPULimit, r.Limits.Cpu().MilliValue())
			l.Memory = max(l.Memory, r.Limits.Memory().Value())
		}
		cpuLimited = cpuLimited && !r.Limits.Cpu().IsZero()
		memoryLimited = memoryLimited && !r.Limits.Memory().IsZero()
	}
	if p := pod.Spec.Resources; p != nil {
		if q := p.Requests.Cpu(); !q.IsZero() {
			l.MilliCPU = q.MilliValue()
		}
		if q := p.Limits.Cpu(); !q.IsZero() {
			l.MilliCPULimit, cpuLimited = q.MilliValue(), true
		}
		if q := p.Limits.Memory(); !q.IsZero() {
			l.Memory, memoryLimited = q.Value(), true
		}
	}
	if o := pod.Spec.Overhead; o != nil { // what the runtime itself takes, on top (KEP-688)
		l.MilliCPU += o.Cpu().MilliValue()
		l.MilliCPULimit += o.Cpu().MilliValue()
		l.Memory += o.Memory().Value()
	}
	if !cpuLimited {
		l.MilliCPULimit = 0
	}
	if !memoryLimited {
		l.Memory = 0
	}
	return l
}

// oomScoreAdj says in which order the kernel is to kill when the machine runs out of memory: Guaranteed Pods last, those that request nothing first,
// the others by how little of the machine they asked for. https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior
func oomScoreAdj(h Host, pod *v1.Pod, c *v1.Container) *int {
	score := 1000
	switch qos := lifecycle.QOS(&pod.Spec); {
	case qos == v1.PodQOSGuaranteed, pod.Spec.PriorityClassName == "system-node-critical":
		score = -997
	case qos == v1.PodQOSBurstable && h.Memory > 0:
		score = int(1000 - 1000*c.Resources.Requests.Memory().Value()/h.Memory)
		score = min(max(score, 3), 999)
	}
	if h.OOMFloor != nil {
		score = max(score, *h.OOMFloor)
	}
	return &score
}

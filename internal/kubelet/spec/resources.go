package spec

import (
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

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
	if high := memoryHigh(h, c); high > 0 {
		if r.Unified == nil {
			r.Unified = map[string]string{}
		}
		r.Unified["memory.high"] = strconv.FormatInt(high, 10)
	}
	for _, size := range h.HugePages {
		q := limit[v1.ResourceName(v1.ResourceHugePagesPrefix+resource.NewQuantity(size, resource.BinarySI).String())]
		r.HugepageLimits = append(r.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: pageSize(size), Limit: uint64(q.Value())})
	}
	return r
}

// pageSize is how the kernel names sizes of huge pages in its files: 2MB, 1GB.
func pageSize(size int64) string {
	for unit, name := range []string{"KB", "MB", "GB"} {
		if n := size >> (10 * (unit + 1)); n < 1024 {
			return strconv.FormatInt(n, 10) + name
		}
	}
	return strconv.FormatInt(size>>30, 10) + "GB"
}

// memoryHigh is how much memory a container may use before the kernel slows it down and takes pages back from it, so that it is warned before it is
// killed; 0 for none. One that has all that it may use for certain is not slowed down.
func memoryHigh(h Host, c *v1.Container) int64 {
	request, limit := c.Resources.Requests.Memory().Value(), c.Resources.Limits.Memory().Value()
	if !h.Unified || h.Throttling <= 0 || request == limit && limit > 0 {
		return 0
	}
	if limit == 0 {
		limit = h.Allocatable
	}
	page := int64(os.Getpagesize())
	high := (request + int64(h.Throttling*float64(limit-request))) / page * page
	if high <= request {
		return 0
	}
	return high
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
func PodLimits(h Host, pod *v1.Pod) cgroup.Limits {
	l := cgroup.Limits{PIDs: h.PodPIDs}
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

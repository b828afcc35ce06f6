package allocatable

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/eviction"
)

// pids is how flags name process numbers. They are no resource that a Node offers or a Pod requests.
const pids v1.ResourceName = "pid"

// Config is the node's flags, named after the fields of a KubeletConfiguration.
type Config struct {
	SystemReserved, KubeReserved map[string]string // resource → amount
	Enforce                      []string          // "pods": the Pods' control group is limited; "none"
	PodPIDsLimit                 int64             // processes that one Pod may have; 0 and -1 for any number
}

// Defaults are the kubelet's: nothing is reserved, and Pods are held to what there is.
func Defaults() Config { return Config{Enforce: []string{"pods"}, PodPIDsLimit: -1} }

// Share is what the flags come to.
type Share struct {
	Reserved v1.ResourceList // for the system and the node's daemons together; with pids
	enforced bool
	podPIDs  int64
}

// Check refuses flags that make no sense, and gives what they come to.
func (c Config) Check() (Share, error) {
	s := Share{Reserved: v1.ResourceList{}, podPIDs: max(c.PodPIDsLimit, 0)}
	for flag, list := range map[string]map[string]string{"--system-reserved": c.SystemReserved, "--kube-reserved": c.KubeReserved} {
		for name, text := range list {
			n := v1.ResourceName(name)
			if !slices.Contains([]v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage, pids}, n) {
				return Share{}, fmt.Errorf("%s: %q cannot be reserved; cpu, memory, ephemeral-storage and pid can", flag, name)
			}
			q, err := resource.ParseQuantity(text)
			if err != nil || q.Sign() < 0 {
				return Share{}, fmt.Errorf("%s: %s: %q is no amount; give one like 500Mi, or 100m of cpu", flag, name, text)
			}
			sum := s.Reserved[n]
			sum.Add(q)
			s.Reserved[n] = sum
		}
	}
	for _, word := range c.Enforce {
		switch word {
		case "pods":
			s.enforced = true
		case "none", "":
			if len(c.Enforce) > 1 {
				return Share{}, fmt.Errorf("--enforce-node-allocatable: none stands alone, but there is %s", strings.Join(c.Enforce, ","))
			}
		default:
			return Share{}, fmt.Errorf("--enforce-node-allocatable: %q is not known; pods and none are", word)
		}
	}
	if c.PodPIDsLimit < -1 {
		return Share{}, fmt.Errorf("--pod-pids-limit %d: must be a number of processes, or -1 for any", c.PodPIDsLimit)
	}
	return s, nil
}

// PodPIDs is how many processes one Pod may have; 0 for any number.
func (s Share) PodPIDs() int64 { return s.podPIDs }

// Of gives what the Node offers of what the machine has: without what is reserved, and without what the hard thresholds keep free, for Pods that took that
// would be ended. Huge pages are memory that is given for nothing else.
func (s Share) Of(capacity v1.ResourceList, thresholds []eviction.Threshold) (v1.ResourceList, error) {
	out := s.held(capacity)
	for _, t := range thresholds {
		name, ok := map[eviction.Signal]v1.ResourceName{eviction.Memory: v1.ResourceMemory, eviction.NodeFs: v1.ResourceEphemeralStorage}[t.Signal]
		if q, has := out[name]; ok && has && !t.Soft {
			total := capacity[name]
			q.Sub(*resource.NewQuantity(t.Amount(total.Value()), q.Format))
			out[name] = q
		}
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		q := out[name]
		if q.Sign() >= 0 {
			continue
		}
		total := capacity[name]
		if reserved, ok := s.Reserved[name]; ok && reserved.Cmp(total) > 0 {
			return nil, fmt.Errorf("--system-reserved, --kube-reserved: %s of %s are kept from Pods, but this machine has only %s", reserved.String(), name, total.String())
		}
		out[name] = *resource.NewQuantity(0, q.Format)
	}
	return out, nil
}

// held is what the machine has without what is reserved, and without huge pages.
func (s Share) held(capacity v1.ResourceList) v1.ResourceList {
	out := capacity.DeepCopy()
	for name, reserved := range s.Reserved {
		if q, ok := out[name]; ok {
			q.Sub(reserved)
			out[name] = q
		}
	}
	memory := out[v1.ResourceMemory]
	for name, pages := range capacity {
		if strings.HasPrefix(string(name), v1.ResourceHugePagesPrefix) {
			memory.Sub(pages)
		}
	}
	out[v1.ResourceMemory] = memory
	return out
}

// Group gives the limits of the control group that all Pods are in: what is not reserved. The thresholds are not taken off, so that Pods are ended one by
// one, in order, before the kernel does it in its own. all is how many process numbers the machine has.
func (s Share) Group(capacity v1.ResourceList, all int64) cgroup.Limits {
	held := s.held(capacity)
	cpu, memory := held[v1.ResourceCPU], held[v1.ResourceMemory]
	l := cgroup.Limits{MilliCPU: cpu.MilliValue()}
	if !s.enforced {
		return l
	}
	l.Memory = memory.Value()
	if reserved, ok := s.Reserved[pids]; ok {
		l.PIDs = max(all-reserved.Value(), 1)
	}
	return l
}

// Published writes the flags into a node's published configuration.
func (c Config) Published(into *kubeletconfig.KubeletConfiguration) {
	into.SystemReserved, into.KubeReserved, into.EnforceNodeAllocatable = c.SystemReserved, c.KubeReserved, c.Enforce
	limit := c.PodPIDsLimit
	into.PodPidsLimit = &limit
}

package eviction

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
)

// Signal is a quantity that runs short.
type Signal string

// The signals, by the names that flags have for them.
const (
	Memory      Signal = "memory.available"
	NodeFs      Signal = "nodefs.available"
	NodeInodes  Signal = "nodefs.inodesFree"
	ImageFs     Signal = "imagefs.available"
	ImageInodes Signal = "imagefs.inodesFree"
	PIDs        Signal = "pid.available"
	// PodMemory is what of the memory for Pods is left. It has no flag: it has the threshold of Memory.
	PodMemory Signal = "allocatableMemory.available"
)

// meaning of a signal: the condition of the Node that tells of it, and the resource that is short.
type meaning struct {
	condition v1.NodeConditionType
	resource  v1.ResourceName
}

var meanings = map[Signal]meaning{
	Memory:      {v1.NodeMemoryPressure, v1.ResourceMemory},
	PodMemory:   {v1.NodeMemoryPressure, v1.ResourceMemory},
	NodeFs:      {v1.NodeDiskPressure, v1.ResourceEphemeralStorage},
	NodeInodes:  {v1.NodeDiskPressure, "inodes"},
	ImageFs:     {v1.NodeDiskPressure, v1.ResourceEphemeralStorage},
	ImageInodes: {v1.NodeDiskPressure, "inodes"},
	PIDs:        {v1.NodePIDPressure, "pids"},
}

// disk says whether a signal is about a file system.
func (s Signal) disk() bool { return meanings[s].condition == v1.NodeDiskPressure }

// Value is an amount, or a part of what there is.
type Value struct {
	Quantity resource.Quantity
	Percent  float64 // instead of Quantity, when above 0
}

// of gives the amount, where there is capacity in all.
func (v Value) of(capacity int64) int64 {
	if v.Percent > 0 {
		return int64(float64(capacity) * v.Percent / 100)
	}
	return v.Quantity.Value()
}

func (v Value) String() string {
	if v.Percent > 0 {
		return strconv.FormatFloat(v.Percent, 'f', -1, 64) + "%"
	}
	return v.Quantity.String()
}

// Threshold is met when less of a signal is left than Value, for Grace without interruption.
type Threshold struct {
	Signal  Signal
	Value   Value
	Soft    bool
	Grace   time.Duration
	Reclaim Value // how much more must be left before it counts as met no longer
}

// Amount is what is to be left of a capacity.
func (t Threshold) Amount(capacity int64) int64 { return t.Value.of(capacity) }

// Config is the node's flags, named after the fields of a KubeletConfiguration.
type Config struct {
	Hard, Soft, SoftGracePeriod, MinimumReclaim string // lists like memory.available<100Mi,nodefs.available<10%
	PressureTransitionPeriod                    time.Duration
	MaxPodGracePeriod                           int // seconds, for soft thresholds
}

// Defaults are the kubelet's, but for process numbers, of which it has none.
func Defaults() Config {
	return Config{
		Hard:                     "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%,pid.available<5%",
		PressureTransitionPeriod: 5 * time.Minute,
	}
}

// Thresholds checks the flags and gives what they ask for, memory first and hard before soft.
func (c Config) Thresholds() ([]Threshold, error) {
	hard, err := list("--eviction-hard", c.Hard)
	if err != nil {
		return nil, err
	}
	soft, err := list("--eviction-soft", c.Soft)
	if err != nil {
		return nil, err
	}
	grace, err := list("--eviction-soft-grace-period", c.SoftGracePeriod)
	if err != nil {
		return nil, err
	}
	reclaim, err := list("--eviction-minimum-reclaim", c.MinimumReclaim)
	if err != nil {
		return nil, err
	}
	var out []Threshold
	for _, s := range order {
		minimum := Value{}
		if text, ok := reclaim[s]; ok {
			if minimum, err = value("--eviction-minimum-reclaim", s, text); err != nil {
				return nil, err
			}
		}
		if text, ok := hard[s]; ok {
			v, err := value("--eviction-hard", s, text)
			if err != nil {
				return nil, err
			}
			if !v.Quantity.IsZero() || v.Percent > 0 { // 0 switches a default off
				out = append(out, Threshold{Signal: s, Value: v, Reclaim: minimum})
				if s == Memory {
					out = append(out, Threshold{Signal: PodMemory, Value: v, Reclaim: minimum})
				}
			}
		}
		if text, ok := soft[s]; ok {
			v, err := value("--eviction-soft", s, text)
			if err != nil {
				return nil, err
			}
			period, err := time.ParseDuration(grace[s])
			if err != nil || period <= 0 {
				return nil, fmt.Errorf("--eviction-soft-grace-period: has no period for %s, which --eviction-soft names; add %s=1m30s, or how long it may be short", s, s)
			}
			out = append(out, Threshold{Signal: s, Value: v, Soft: true, Grace: period, Reclaim: minimum})
		}
	}
	for s := range grace {
		if _, ok := soft[s]; !ok {
			return nil, fmt.Errorf("--eviction-soft-grace-period: names %s, which --eviction-soft does not", s)
		}
	}
	if c.PressureTransitionPeriod < 0 {
		return nil, fmt.Errorf("--eviction-pressure-transition-period %s: must not be negative", c.PressureTransitionPeriod)
	}
	if c.MaxPodGracePeriod < 0 {
		return nil, fmt.Errorf("--eviction-max-pod-grace-period %d: must not be negative", c.MaxPodGracePeriod)
	}
	return out, nil
}

// order in which thresholds are acted upon: memory first, since a machine without it does nothing else either.
var order = []Signal{Memory, NodeFs, NodeInodes, ImageFs, ImageInodes, PIDs}

// list reads "signal<value,signal<value"; = does as well.
func list(flag, text string) (map[Signal]string, error) {
	out := map[Signal]string{}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		i := strings.IndexAny(word, "<=")
		if i < 0 {
			return nil, fmt.Errorf("%s: %q: must be like memory.available<100Mi", flag, word)
		}
		s := Signal(word[:i])
		if !slices.Contains(order, s) {
			return nil, fmt.Errorf("%s: %q: there is no signal %q; there are %s", flag, word, s, names(order))
		}
		if _, twice := out[s]; twice {
			return nil, fmt.Errorf("%s: names %s twice", flag, s)
		}
		out[s] = word[i+1:]
	}
	return out, nil
}

func value(flag string, s Signal, text string) (Value, error) {
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		f, err := strconv.ParseFloat(percent, 64)
		if err != nil || f < 0 || f > 100 {
			return Value{}, fmt.Errorf("%s: %s: %q is no percentage; give one from 0%% to 100%%", flag, s, text)
		}
		return Value{Percent: f}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() < 0 {
		return Value{}, fmt.Errorf("%s: %s: %q is no amount; give one like 500Mi, or a percentage", flag, s, text)
	}
	return Value{Quantity: q}, nil
}

func names(signals []Signal) string {
	var out []string
	for _, s := range signals {
		out = append(out, string(s))
	}
	return strings.Join(out, ", ")
}

// Published writes the flags into a node's published configuration.
func (c Config) Published(into *kubeletconfig.KubeletConfiguration) {
	plain := func(text string) map[string]string {
		l, err := list("", text)
		if err != nil || len(l) == 0 {
			return nil // a node with such flags does not start
		}
		out := map[string]string{}
		for _, s := range slices.Sorted(maps.Keys(l)) {
			out[string(s)] = l[s]
		}
		return out
	}
	into.EvictionHard, into.EvictionSoft = plain(c.Hard), plain(c.Soft)
	into.EvictionSoftGracePeriod, into.EvictionMinimumReclaim = plain(c.SoftGracePeriod), plain(c.MinimumReclaim)
	into.EvictionPressureTransitionPeriod.Duration, into.EvictionMaxPodGracePeriod = c.PressureTransitionPeriod, int32(c.MaxPodGracePeriod)
}

package eviction

import (
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// Observation is what of a signal is left, and how much there is in all.
type Observation struct{ Available, Capacity int64 }

// Use is what a Pod uses of the node.
type Use struct {
	Memory, Processes int64
	// Of the disk: what containers wrote to their file systems and logs, and what is in the Pod's emptyDirs; zero where it was not measured.
	Containers map[string]ContainerUse
	EmptyDirs  map[string]int64 // bytes by volume; not those in memory
	Inodes     int64
}

// ContainerUse is what one container uses; Disk is what it wrote to its own file system and to its logs.
type ContainerUse struct{ Memory, Disk int64 }

// disk sums up a Pod's bytes on disk.
func (u *Use) disk() int64 {
	sum := int64(0)
	for _, c := range u.Containers {
		sum += c.Disk
	}
	for _, n := range u.EmptyDirs {
		sum += n
	}
	return sum
}

// Pod is one that runs, and what it uses.
type Pod struct {
	*v1.Pod
	Use Use
}

// Input is everything that a Decision depends on, beside the State.
type Input struct {
	Now  time.Time
	Seen map[Signal]Observation // a signal that could not be measured is missing
	Pods []Pod
	// Reclaimed says that what the node itself can do without has been removed already.
	Reclaimed bool
}

// State is what is remembered from one decision to the next. A new process begins without it: a soft threshold is then met a while later.
type State struct {
	Thresholds []Threshold
	Transition time.Duration // how long a pressure is reported after it was last seen
	MaxGrace   int           // seconds that Pods have for soft thresholds

	since map[int]time.Time // when thresholds, by index, were met first
	last  map[v1.NodeConditionType]time.Time
}

// Decision is what is to be done.
type Decision struct {
	Pressure []v1.NodeConditionType // to report, and to turn Pods away for
	Short    []string               // the resources for which something is about to be done
	Reclaim  bool                   // unused images are to be removed, and it is to be decided again
	Evict    *Eviction
}

// Eviction is a Pod to be ended.
type Eviction struct {
	UID     types.UID
	Message string
	Grace   time.Duration // the most time that it has; negative: its own
}

// immediate is the time that Pods have which are ended for hard thresholds and for disk: https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
// has none at all, but the kubelet gives a second.
const immediate = time.Second

// MeasureDisk says whether what Pods use of the disk decides.
func (s *State) MeasureDisk(seen map[Signal]Observation) bool {
	for i, t := range s.Thresholds {
		if o, ok := seen[t.Signal]; ok && t.Signal.disk() && s.met(i, o) {
			return true
		}
	}
	return false
}

// met says whether a threshold is. One that was stays so until the minimum reclaim on top of it is left, too.
func (s *State) met(i int, o Observation) bool {
	t := s.Thresholds[i]
	limit := t.Value.of(o.Capacity)
	if !s.since[i].IsZero() {
		limit += t.Reclaim.of(o.Capacity)
	}
	return o.Available < limit
}

// Decide says what is to be done about what is short; at most one Pod is ended at a time, for its end may be enough.
func (s *State) Decide(in Input) Decision {
	if s.since == nil {
		s.since, s.last = map[int]time.Time{}, map[v1.NodeConditionType]time.Time{}
	}
	var d Decision
	var due []int
	for i, t := range s.Thresholds {
		o, ok := in.Seen[t.Signal]
		if !ok || !s.met(i, o) {
			delete(s.since, i)
			continue
		}
		if s.since[i].IsZero() {
			s.since[i] = in.Now
		}
		s.last[meanings[t.Signal].condition] = in.Now
		if in.Now.Sub(s.since[i]) >= t.Grace {
			due = append(due, i)
		}
	}
	for _, c := range []v1.NodeConditionType{v1.NodeMemoryPressure, v1.NodeDiskPressure, v1.NodePIDPressure} {
		if at, ok := s.last[c]; ok && (at.Equal(in.Now) || in.Now.Sub(at) < s.Transition) {
			d.Pressure = append(d.Pressure, c)
		}
	}
	for _, i := range due {
		if r := string(meanings[s.Thresholds[i].Signal].resource); !slices.Contains(d.Short, r) {
			d.Short = append(d.Short, r)
		}
	}
	for _, i := range due {
		t := s.Thresholds[i]
		if t.Signal.disk() && !in.Reclaimed {
			d.Reclaim = true
			return d
		}
		ranked := rank(t.Signal, in.Pods)
		if len(ranked) == 0 {
			continue
		}
		grace := immediate
		if t.Soft {
			grace = time.Duration(s.MaxGrace) * time.Second
		}
		d.Evict = &Eviction{UID: ranked[0].UID, Message: lowMessage(t, in.Seen[t.Signal], ranked[0]), Grace: grace}
		return d
	}
	return d
}

// lowMessage tells why a Pod was ended: what is short, and which of its containers use more of it than they asked for.
func lowMessage(t Threshold, o Observation, p Pod) string {
	name := meanings[t.Signal].resource
	format := resource.BinarySI
	if name == "pids" || name == "inodes" {
		format = resource.DecimalSI
	}
	text := fmt.Sprintf("The node was low on resource: %s. Threshold quantity: %s, available: %s. ", name,
		resource.NewQuantity(t.Value.of(o.Capacity), format), short(o.Available, format))
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		used := int64(0)
		switch name {
		case v1.ResourceMemory:
			used = p.Use.Containers[c.Name].Memory
		case v1.ResourceEphemeralStorage:
			used = p.Use.Containers[c.Name].Disk
		default:
			continue
		}
		request := c.Resources.Requests[name]
		if used > request.Value() {
			text += fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %s. ", c.Name, short(used, resource.BinarySI), request.String(), name)
		}
	}
	return text
}

// short prints an amount of bytes in whole kibibytes, as the kubelet does.
func short(n int64, format resource.Format) string {
	if format == resource.BinarySI {
		return fmt.Sprintf("%dKi", n>>10)
	}
	return resource.NewQuantity(n, format).String()
}

// Exceeding finds the Pods that use more local disk than they may. They are ended whether or not the node is short of it; critical ones are not.
func Exceeding(pods []Pod) []Eviction {
	var out []Eviction
	for _, p := range pods {
		if text := exceeds(p); text != "" && !critical(p.Pod) {
			out = append(out, Eviction{UID: p.UID, Message: text, Grace: immediate})
		}
	}
	return out
}

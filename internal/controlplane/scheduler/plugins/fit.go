package plugins

import (
	"fmt"
	"sort"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Fit turns away from nodes that have not enough left of what the Pod requests: containers, init containers, Pod overhead, extended resources.
type Fit struct{}

var _ Filter = Fit{}

// Name is the filter's name.
func (Fit) Name() string { return "NodeResourcesFit" }

// Prepare always applies: every Pod takes one of the Pods a node can run.
func (Fit) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot) Check {
	return fitCheck{&pod.Requests, pod.Object.Spec.Overhead}
}

// Concerns are what may make room.
func (Fit) Concerns() Change { return Added | Allocatable | PodGone }

// Helped by a node that has enough now.
func (f Fit) Helped(pod *snapshot.Pod, e Event) bool {
	return e.Change&f.Concerns() != 0 && fitCheck{want: &pod.Requests}.Passes(e.Node)
}

type fitCheck struct {
	want     *snapshot.Resources
	overhead corev1.ResourceList // which part of it the Pod's RuntimeClass asks for
}

func (c fitCheck) Passes(n *snapshot.Node) bool {
	w, have, used := c.want, &n.Allocatable, &n.Requested
	// A resource that is not requested is not looked at: a node may be overcommitted in it by Pods that were bound by hand.
	if used.Pods+w.Pods > have.Pods ||
		w.MilliCPU > 0 && used.MilliCPU+w.MilliCPU > have.MilliCPU ||
		w.Memory > 0 && used.Memory+w.Memory > have.Memory ||
		w.Storage > 0 && used.Storage+w.Storage > have.Storage {
		return false
	}
	for name, want := range w.Extended {
		if want > 0 && used.Extended[name]+want > have.Extended[name] {
			return false
		}
	}
	return true
}

// shortage is a resource of which a node has not enough left.
type shortage struct {
	name             corev1.ResourceName
	want, used, have int64
}

func (c fitCheck) shortages(n *snapshot.Node) []shortage {
	w, have, used := c.want, &n.Allocatable, &n.Requested
	var out []shortage
	look := func(name corev1.ResourceName, want, used, have int64) {
		if want > 0 && used+want > have {
			out = append(out, shortage{name, want, used, have})
		}
	}
	look(corev1.ResourcePods, w.Pods, used.Pods, have.Pods)
	look(corev1.ResourceCPU, w.MilliCPU, used.MilliCPU, have.MilliCPU)
	look(corev1.ResourceMemory, w.Memory, used.Memory, have.Memory)
	look(corev1.ResourceEphemeralStorage, w.Storage, used.Storage, have.Storage)
	base := len(out)
	for name, want := range w.Extended {
		look(name, want, used.Extended[name], have.Extended[name])
	}
	sort.Slice(out[base:], func(i, j int) bool { return out[base+i].name < out[base+j].name })
	return out
}

func (c fitCheck) Explain(n *snapshot.Node) []string {
	var out []string
	for _, s := range c.shortages(n) {
		if s.name == corev1.ResourcePods {
			out = append(out, "Too many pods")
		} else {
			out = append(out, "Insufficient "+string(s.name))
		}
	}
	return out
}

func (c fitCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for _, s := range c.shortages(n) {
		free := max(0, s.have-s.used)
		switch {
		case s.name == corev1.ResourcePods:
			out = append(out, fmt.Sprintf("runs %d Pods of at most %d: one has to go, or the node's limit has to be raised", s.used, s.have))
		case s.have == 0:
			out = append(out, fmt.Sprintf("offers no %s", s.name))
		case free == 0:
			out = append(out, fmt.Sprintf("%s: %s short, none of %s is free", s.name, amount(s.name, s.want), amount(s.name, s.have)))
		default:
			out = append(out, fmt.Sprintf("%s: %s short: %s", s.name, amount(s.name, s.used+s.want-s.have), c.fitting(s, free)))
		}
	}
	return out
}

// fitting says which request would fit into what is free: of the Pod's own, since the overhead of its RuntimeClass is not in its specification.
func (c fitCheck) fitting(s shortage, free int64) string {
	overhead, beside := c.overheadOf(s.name), ""
	if overhead >= free {
		return fmt.Sprintf("the overhead of its RuntimeClass, %s, takes all that is free, %s", amount(s.name, overhead), amount(s.name, free))
	}
	if overhead > 0 {
		beside = fmt.Sprintf(" beside the overhead of its RuntimeClass, %s", amount(s.name, overhead))
	}
	return fmt.Sprintf("a request of %s instead of %s would fit%s", amount(s.name, free-overhead), amount(s.name, s.want-overhead), beside)
}

func (c fitCheck) overheadOf(name corev1.ResourceName) int64 {
	q := c.overhead[name]
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// Lasting where the empty node would be too small.
func (c fitCheck) Lasting(n *snapshot.Node) bool {
	for _, s := range c.shortages(n) {
		if s.want > s.have {
			return true
		}
	}
	return false
}

// amount writes a number of a resource's unit as manifests do.
func amount(name corev1.ResourceName, n int64) string {
	switch name {
	case corev1.ResourceCPU:
		return resource.NewMilliQuantity(n, resource.DecimalSI).String()
	case corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return resource.NewQuantity(n, resource.BinarySI).String()
	}
	return resource.NewQuantity(n, resource.DecimalSI).String()
}

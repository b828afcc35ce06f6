package plugins

import (
	"fmt"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// NodePorts turns away from nodes where a host port of the Pod is taken.
type NodePorts struct{}

var _ Filter = NodePorts{}

// Name is the filter's name.
func (NodePorts) Name() string { return "NodePorts" }

// Prepare applies to Pods that claim host ports.
func (NodePorts) Prepare(pod *snapshot.Pod, _ *snapshot.Snapshot) Check {
	if len(pod.Ports) == 0 {
		return nil
	}
	return portsCheck(pod.Ports)
}

// Concerns are what may free a port.
func (NodePorts) Concerns() Change { return Added | PodGone }

// Helped by a node where the ports are free, be it a new one or one that a Pod with host ports has left.
func (NodePorts) Helped(pod *snapshot.Pod, e Event) bool {
	return (e.Change&Added != 0 || e.Change&PodGone != 0 && len(e.Pod.Ports) > 0) && portsCheck(pod.Ports).Passes(e.Node)
}

type portsCheck []snapshot.HostPort

func (c portsCheck) Passes(n *snapshot.Node) bool {
	for _, p := range c {
		if !n.PortFree(p) {
			return false
		}
	}
	return true
}

func (portsCheck) Explain(*snapshot.Node) []string {
	return []string{"node(s) didn't have free ports for the requested pod ports"}
}

func (c portsCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for _, p := range c {
		if holder := n.PortHolder(p); holder != nil {
			out = append(out, fmt.Sprintf("host port %d/%s is taken by Pod %s/%s: ask for another, or move that Pod",
				p.Port, p.Protocol, holder.Object.Namespace, holder.Object.Name))
		}
	}
	return out
}

func (portsCheck) Lasting(*snapshot.Node) bool { return false }

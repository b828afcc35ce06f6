package snapshot

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is a node with the sums over the Pods on it. Filters and scores read it and change nothing. What the search asks of every node is kept here
// and not looked up in the object, which would cost a cache miss each.
type Node struct {
	Object        *corev1.Node // nil while only Pods speak of the node
	Labels        map[string]string
	Taints        []corev1.Taint
	Unschedulable bool

	Allocatable Resources
	Requested   Resources // sum of Pod.Requests
	Weight      Resources // sum of Pod.Weight
	Pods        map[types.UID]*Pod
	Workloads   map[Workload]int32 // how many Pods of each
	Images      map[string]int64   // size in bytes by name
	Zone        string             // topology.kubernetes.io/zone

	ports     []HostPort
	nominated []*Pod   // see Nominate
	at        int      // position in Snapshot.nodes; -1 while Object is nil
	domains   []Domain // of each label that is followed; nil while Object is nil
}

func newNode() *Node {
	return &Node{Pods: map[types.UID]*Pod{}, Workloads: map[Workload]int32{}, at: -1}
}

// Name is the node's name.
func (n *Node) Name() string { return n.Object.Name }

// PortFree says whether a port can be claimed.
func (n *Node) PortFree(p HostPort) bool {
	for _, used := range n.ports {
		if used.conflicts(p) {
			return false
		}
	}
	return true
}

// PortHolder is a Pod because of which a port cannot be claimed; nil for none.
func (n *Node) PortHolder(p HostPort) *Pod {
	for _, q := range n.Pods {
		for _, used := range q.Ports {
			if used.conflicts(p) {
				return q
			}
		}
	}
	return nil
}

// Domain is the domain that the node is in.
func (n *Node) Domain(t *Topology) Domain {
	if n.domains == nil {
		return NoDomain
	}
	return n.domains[t.at]
}

func (n *Node) setObject(obj *corev1.Node) {
	n.Object = obj
	n.Labels, n.Taints, n.Unschedulable = obj.Labels, obj.Spec.Taints, obj.Spec.Unschedulable
	n.Allocatable = resourcesOf(obj.Status.Allocatable)
	n.Zone = obj.Labels[corev1.LabelTopologyZone]
	n.Images = nil
	for _, img := range obj.Status.Images {
		for _, name := range img.Names {
			if n.Images == nil {
				n.Images = map[string]int64{}
			}
			n.Images[name] = img.SizeBytes
		}
	}
}

func (n *Node) add(p *Pod) {
	n.Pods[p.Object.UID] = p
	n.Requested.add(&p.Requests, 1)
	n.Weight.add(&p.Weight, 1)
	n.ports = append(n.ports, p.Ports...)
	if p.Workload != "" {
		n.Workloads[p.Workload]++
	}
}

func (n *Node) remove(p *Pod) {
	delete(n.Pods, p.Object.UID)
	n.Requested.add(&p.Requests, -1)
	n.Weight.add(&p.Weight, -1)
	if p.Workload != "" {
		if n.Workloads[p.Workload]--; n.Workloads[p.Workload] == 0 {
			delete(n.Workloads, p.Workload)
		}
	}
	if len(p.Ports) > 0 {
		n.ports = n.ports[:0:0]
		for _, q := range n.Pods {
			n.ports = append(n.ports, q.Ports...)
		}
	}
}

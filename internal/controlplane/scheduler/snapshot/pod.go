package snapshot

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Pod is a Pod with what scheduling needs of it, worked out once.
type Pod struct {
	Object   *corev1.Pod
	Requests Resources // what it takes of a node's capacity
	Weight   Resources // what it counts when nodes are compared; only MilliCPU and Memory
	Ports    []HostPort
	Claims   []Claim
	Priority int32
	Workload Workload
	Gang     *Gang     // nil for none
	Affinity *Affinity // nil for none

	key   string // what makes its group
	group *Group // while it is on a node
}

// Workload names the replicas that a Pod is one of, all revisions of a Deployment together. It is empty for a Pod without a controller.
type Workload string

// HostPort is a port of the node that a Pod claims.
type HostPort struct {
	IP       string // "" for all addresses
	Protocol corev1.Protocol
	Port     int32
}

// NewPod works out what scheduling needs of pod, which must not change afterwards.
func NewPod(pod *corev1.Pod) *Pod {
	workload := workloadOf(pod)
	return &Pod{
		Object: pod, Requests: requestsOf(pod), Weight: weightOf(pod), Ports: hostPorts(pod), Claims: claimsOf(pod), Priority: ptr.Deref(pod.Spec.Priority, 0),
		Workload: workload, Gang: gangOf(pod), Affinity: affinityOf(pod), key: groupKey(pod, workload),
	}
}

func workloadOf(pod *corev1.Pod) Workload {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil {
		return ""
	}
	name := ref.Name
	// A Deployment's ReplicaSets are named after it and the hash of the Pod template. Were each revision a workload of its own, a rolling update
	// would put its first new Pods onto the nodes that hold most of the old ones.
	if hash := pod.Labels["pod-template-hash"]; hash != "" {
		name = strings.TrimSuffix(name, "-"+hash)
	}
	return Workload(pod.Namespace + "/" + ref.Kind + "/" + name)
}

func hostPorts(pod *corev1.Pod) []HostPort {
	var out []HostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			h := HostPort{IP: p.HostIP, Protocol: p.Protocol, Port: p.HostPort}
			if h.IP == "0.0.0.0" || h.IP == "::" {
				h.IP = ""
			}
			if h.Protocol == "" {
				h.Protocol = corev1.ProtocolTCP
			}
			out = append(out, h)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		// Other init containers have ended before the Pod's ports matter.
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return out
}

// conflicts says whether both ports cannot be on one node.
func (h HostPort) conflicts(o HostPort) bool {
	return h.Port == o.Port && h.Protocol == o.Protocol && (h.IP == o.IP || h.IP == "" || o.IP == "")
}

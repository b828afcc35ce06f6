package pod

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// hostPort is a port of the node that a Pod takes for itself.
type hostPort struct {
	protocol v1.Protocol
	ip       string // empty for all addresses
	port     int32
}

// holder is a Pod and its host ports.
type holder struct {
	name  types.NamespacedName
	ports []hostPort
}

// holders are the Pods of a node that hold ports of it, from when they are taken up until they have ended or are gone.
//
// The scheduler gives no port away twice. But a Pod may name its node itself, and then nobody but the node can turn it away: two Pods would share the port,
// and connections would go to either.
type holders map[types.UID]holder

// admit takes a Pod's ports for it, or says why it cannot have them.
func (h holders) admit(pod *v1.Pod) *lifecycle.Stop {
	ports := hostPorts(pod)
	if stop := h.refuse(ports); stop != nil {
		return stop
	}
	h.hold(pod, ports)
	return nil
}

// portsTaken is the reason of a Pod whose ports another has.
const portsTaken = "NodePorts"

// refuse says why ports cannot be had.
func (h holders) refuse(ports []hostPort) *lifecycle.Stop {
	for _, other := range h {
		for _, p := range ports {
			if other.has(p) {
				return &lifecycle.Stop{
					Reason:  portsTaken,
					Message: fmt.Sprintf("Pod was rejected: Predicate NodePorts failed: host port %d/%s is taken by the Pod %s", p.port, p.protocol, other.name),
				}
			}
		}
	}
	return nil
}

// hold notes the ports of a Pod that has been admitted, be it by an earlier process.
func (h holders) hold(pod *v1.Pod, ports []hostPort) {
	if len(ports) > 0 {
		h[pod.UID] = holder{name: types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, ports: ports}
	}
}

func (o holder) has(p hostPort) bool {
	for _, q := range o.ports {
		if p.port == q.port && p.protocol == q.protocol && (p.ip == q.ip || p.ip == "" || q.ip == "") {
			return true
		}
	}
	return false
}

// hostPorts are those of the containers that run side by side. Other init containers are over by then, and the API gives them none for their own.
func hostPorts(pod *v1.Pod) []hostPort {
	var out []hostPort
	add := func(c *v1.Container) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			ip := p.HostIP
			if ip == "0.0.0.0" || ip == "::" {
				ip = ""
			}
			protocol := p.Protocol
			if protocol == "" {
				protocol = v1.ProtocolTCP
			}
			out = append(out, hostPort{protocol: protocol, ip: ip, port: p.HostPort})
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}

// over says that nothing of a Pod runs any more.
func over(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

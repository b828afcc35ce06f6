package loadbalancer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"
)

// Classes of load balancers (service.spec.loadBalancerClass) that are gitopsd's own. A Service without a class is of the first, or, where there are pools, of the second.
const (
	ClassNodes = "gitopsd.io/nodes"
	ClassPool  = "gitopsd.io/pool"
)

// Reasons of Events.
const (
	ReasonGiven   = "LoadBalancerAddresses"
	ReasonPending = "LoadBalancerPending"
)

// finalizer is what cloud controllers put on Services whose balancer is still to be removed, and whose status is therefore theirs.
const finalizer = "service.kubernetes.io/load-balancer-cleanup"

// maxAddresses bounds what every status repeats in a large cluster. Any node serves as well as another.
const maxAddresses = 32

// reserved are ports of a node that must never lead elsewhere, lest nobody can reach the host or the cluster any more: ssh, etcd, the API server, the node daemon.
var reserved = map[int32]string{22: "ssh", 2379: "etcd", 2380: "etcd", 6443: "the API server", 10250: "the node daemon"}

// annIngressPorts is where a node says at which of its ports it serves Ingresses, separated by commas.
const annIngressPorts = "gitopsd.io/ingress-ports"

// World is what decides over addresses.
type World struct {
	Services []*corev1.Service
	Nodes    []*corev1.Node
	// Hosts are the nodes that have a ready endpoint of a Service.
	Hosts func(s *corev1.Service) map[string]bool
	Pools []netip.Prefix
	// Others says that Services without a class are somebody else's.
	Others bool
}

// Actions is what is to be written and said.
type Actions struct {
	// Status are copies of Services with the status that they are to have.
	Status []*corev1.Service
	// Given are the Events that go with it.
	Given []Message
	// Pending is what keeps Services from having an address, told already or not.
	Pending []Message
}

// Message is an Event at a Service.
type Message struct {
	Service *corev1.Service
	Text    string
}

// door is a port of an address; of the zero address it is one of every node.
type door struct {
	addr     netip.Addr
	protocol corev1.Protocol
	port     int32
}

// Decide says who gets which addresses. Who has one keeps it while it can; then the older Service comes first.
func Decide(w World) Actions {
	var a Actions
	taken := nodePorts(w.Services)
	used := map[netip.Addr]*corev1.Service{}
	for _, s := range byAge(w.Services) {
		class := w.class(s)
		if class == "" {
			if clear := cleared(s); clear != nil {
				a.Status = append(a.Status, clear)
			}
			continue
		}
		var ips []netip.Addr
		var problem string
		if class == ClassPool {
			ips, problem = w.fromPool(s, used)
		} else {
			ips, problem = w.ofNodes(s, taken)
		}
		if problem != "" {
			a.Pending = append(a.Pending, Message{s, problem})
		}
		want := corev1.LoadBalancerStatus{}
		for _, ip := range ips {
			want.Ingress = append(want.Ingress, corev1.LoadBalancerIngress{IP: ip.String(), IPMode: ptr.To(corev1.LoadBalancerIPModeVIP)})
		}
		if apiequality.Semantic.DeepEqual(s.Status.LoadBalancer, want) {
			continue
		}
		changed := s.DeepCopy()
		changed.Status.LoadBalancer = want
		a.Status = append(a.Status, changed)
		if len(ips) > 0 {
			a.Given = append(a.Given, Message{s, "is reached at " + text(ips)})
		}
	}
	return a
}

// class is which of gitopsd's classes a Service is of; none when it is not ours.
func (w World) class(s *corev1.Service) string {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.DeletionTimestamp != nil {
		return ""
	}
	switch class := ptr.Deref(s.Spec.LoadBalancerClass, ""); {
	case class == ClassNodes, class == ClassPool:
		return class
	case class != "" || w.Others:
		return ""
	case len(w.Pools) > 0:
		return ClassPool
	}
	return ClassNodes
}

// cleared is a Service that was a load balancer, without the addresses it had as such.
func cleared(s *corev1.Service) *corev1.Service {
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer || len(s.Status.LoadBalancer.Ingress) == 0 || slices.Contains(s.Finalizers, finalizer) {
		return nil
	}
	changed := s.DeepCopy()
	changed.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	return changed
}

// byAge puts those that have an address before those that have none, and then the older before the younger.
func byAge(list []*corev1.Service) []*corev1.Service {
	has := func(s *corev1.Service) int {
		if len(s.Status.LoadBalancer.Ingress) > 0 {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(slices.Values(list), func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(has(a), has(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// nodePorts are the ports that every address of a node answers already.
func nodePorts(list []*corev1.Service) map[door]*corev1.Service {
	out := map[door]*corev1.Service{}
	for _, s := range list {
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				out[door{protocol: p.Protocol, port: p.NodePort}] = s
			}
		}
		if n := s.Spec.HealthCheckNodePort; n != 0 {
			out[door{protocol: corev1.ProtocolTCP, port: n}] = s
		}
	}
	return out
}

// ofNodes are the nodes' addresses that a Service can have: those of ready nodes, with external traffic policy Local of those with an endpoint, on which all of its ports are free.
func (w World) ofNodes(s *corev1.Service, taken map[door]*corev1.Service) (ips []netip.Addr, problem string) {
	for _, p := range s.Spec.Ports {
		if what, ok := reserved[p.Port]; ok && p.Protocol == corev1.ProtocolTCP {
			return nil, fmt.Sprintf("port %d of the nodes is for %s: give the Service another port, or an address of its own out of a pool (gitopsd serve --load-balancer-pool)", p.Port, what)
		}
		if other := taken[door{protocol: p.Protocol, port: p.Port}]; other != nil {
			return nil, fmt.Sprintf("port %d/%s is a node port of Service %s/%s, which every node answers: give one of them another port", p.Port, p.Protocol, other.Namespace, other.Name)
		}
	}
	local := s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	var hosts map[string]bool
	if local {
		hosts = w.Hosts(s)
	}
	ready := 0
	for _, n := range w.Nodes {
		if !serves(n) {
			continue
		}
		ready++
		if local && !hosts[n.Name] {
			continue
		}
		for _, ip := range addresses(n) {
			if !speaks(s, ip) || slices.Contains(ips, ip) {
				continue
			}
			if other := cmp.Or(ofIngress(s, n), occupied(s, ip, taken)); other != "" {
				problem = other
				continue
			}
			ips = append(ips, ip)
		}
	}
	if len(ips) == 0 && problem == "" {
		switch {
		case ready == 0:
			problem = "no node is ready"
		case local && len(hosts) == 0:
			problem = "no node has a ready endpoint, which externalTrafficPolicy Local asks for"
		default:
			problem = fmt.Sprintf("no ready node has an address of the Service's families %v", s.Spec.IPFamilies)
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	if len(ips) > maxAddresses {
		ips = ips[:maxAddresses]
	}
	for _, ip := range ips {
		for _, p := range s.Spec.Ports {
			taken[door{ip, p.Protocol, p.Port}] = s
		}
	}
	return ips, problem
}

// ofIngress says at which port of s a node serves Ingresses.
func ofIngress(s *corev1.Service, n *corev1.Node) string {
	for _, text := range strings.Split(n.Annotations[annIngressPorts], ",") {
		port, err := strconv.Atoi(text)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Protocol == corev1.ProtocolTCP && p.Port == int32(port) }) {
			return fmt.Sprintf("port %d of node %s is where it serves Ingresses: give the Service another port, use an Ingress for it, or start the node with another --ingress-http-port or --ingress-https-port", port, n.Name)
		}
	}
	return ""
}

// occupied says which Service has a port of s at an address already.
func occupied(s *corev1.Service, ip netip.Addr, taken map[door]*corev1.Service) string {
	for _, p := range s.Spec.Ports {
		if other := taken[door{ip, p.Protocol, p.Port}]; other != nil {
			return fmt.Sprintf("port %d/%s of %s belongs to Service %s/%s already: give one of them another port, or use an Ingress for both", p.Port, p.Protocol, ip, other.Namespace, other.Name)
		}
	}
	return ""
}

// fromPool is the address that a Service has, asks for or is given, one of each of its families.
func (w World) fromPool(s *corev1.Service, used map[netip.Addr]*corev1.Service) (ips []netip.Addr, problem string) {
	for _, family := range s.Spec.IPFamilies {
		ip, text := w.pick(s, family, used)
		if text != "" {
			problem = text
			continue
		}
		used[ip] = s
		ips = append(ips, ip)
	}
	return ips, problem
}

func (w World) pick(s *corev1.Service, family corev1.IPFamily, used map[netip.Addr]*corev1.Service) (netip.Addr, string) {
	if asked, err := netip.ParseAddr(s.Spec.LoadBalancerIP); err == nil && asked.Is4() == (family == corev1.IPv4Protocol) {
		switch other := used[asked]; {
		case !w.pooled(asked):
			return asked, fmt.Sprintf("spec.loadBalancerIP %s is in no pool", asked)
		case other != nil:
			return asked, fmt.Sprintf("spec.loadBalancerIP %s belongs to Service %s/%s", asked, other.Namespace, other.Name)
		}
		return asked, ""
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		if ip, err := netip.ParseAddr(in.IP); err == nil && ip.Is4() == (family == corev1.IPv4Protocol) && w.pooled(ip) && used[ip] == nil {
			return ip, ""
		}
	}
	for _, pool := range w.Pools {
		if pool.Addr().Is4() != (family == corev1.IPv4Protocol) {
			continue
		}
		for ip := pool.Masked().Addr(); pool.Contains(ip); ip = ip.Next() {
			// Others' addresses are looked at in order, so one that is not used yet may still be kept by a Service that comes later.
			if used[ip] == nil && !w.kept(s, ip) {
				return ip, ""
			}
		}
	}
	return netip.Addr{}, fmt.Sprintf("no address of family %s is free in the pools %v", family, w.Pools)
}

func (w World) pooled(ip netip.Addr) bool {
	return slices.ContainsFunc(w.Pools, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// kept tells whether another Service has an address or asks for it.
func (w World) kept(s *corev1.Service, ip netip.Addr) bool {
	return slices.ContainsFunc(w.Services, func(o *corev1.Service) bool {
		if o == s || w.class(o) != ClassPool {
			return false
		}
		return o.Spec.LoadBalancerIP == ip.String() || slices.ContainsFunc(o.Status.LoadBalancer.Ingress, func(in corev1.LoadBalancerIngress) bool { return in.IP == ip.String() })
	})
}

// speaks tells whether an address is of one of the Service's families.
func speaks(s *corev1.Service, ip netip.Addr) bool {
	family := corev1.IPv6Protocol
	if ip.Is4() {
		family = corev1.IPv4Protocol
	}
	return slices.Contains(s.Spec.IPFamilies, family)
}

func addresses(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && (a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP) {
			out = append(out, ip)
		}
	}
	return out
}

// serves says whether clients may be sent to a node.
func serves(n *corev1.Node) bool {
	if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded {
		return false
	}
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func text(ips []netip.Addr) string {
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = ip.String()
	}
	return strings.Join(out, ", ")
}

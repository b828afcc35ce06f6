package rules

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// labelProxyName marks a Service that some other proxy serves (KEP-2447).
const labelProxyName = "service.kubernetes.io/service-proxy-name"

// defaultAffinity is that of service.spec.sessionAffinityConfig.clientIP.timeoutSeconds.
const defaultAffinity = 10800 * time.Second

// Build returns the Balancers of svc for one address family, in the order of its ports. A nil, headless or ExternalName Service has none.
func Build(node Node, family corev1.IPFamily, svc *corev1.Service, slices []*discoveryv1.EndpointSlice) []Balancer {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Labels[labelProxyName] != "" {
		return nil
	}
	clusterIPs := addrs(family, svc.Spec.ClusterIPs, svc.Spec.ClusterIP)
	if len(clusterIPs) == 0 {
		return nil
	}
	list := make([]Balancer, 0, len(svc.Spec.Ports))
	for i := range svc.Spec.Ports {
		port := &svc.Spec.Ports[i]
		b := Balancer{
			Name:      PortName{Namespace: svc.Namespace, Service: svc.Name, Port: port.Name, Protocol: port.Protocol},
			Frontends: frontends(family, svc, port, clusterIPs),
			Affinity:  affinity(svc),
		}
		b.Cluster, b.Local = endpoints(node, family, port, slices)
		list = append(list, b)
	}
	return list
}

func affinity(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return defaultAffinity
}

func frontends(family corev1.IPFamily, svc *corev1.Service, port *corev1.ServicePort, clusterIPs []netip.Addr) []Frontend {
	internal, external := Cluster, Cluster
	if ptr.Deref(svc.Spec.InternalTrafficPolicy, "") == corev1.ServiceInternalTrafficPolicyLocal {
		internal = Local
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		external = Local
	}
	var out []Frontend
	for _, ip := range clusterIPs {
		out = append(out, Frontend{Kind: ClusterIP, Addr: ip, Port: uint16(port.Port), Policy: internal})
	}
	for _, ip := range addrs(family, svc.Spec.ExternalIPs) {
		out = append(out, Frontend{Kind: External, Addr: ip, Port: uint16(port.Port), Policy: external})
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		var ips []string
		for _, in := range svc.Status.LoadBalancer.Ingress {
			// Proxy mode: the load balancer wants to see every packet itself (KEP-1860).
			if ptr.Deref(in.IPMode, corev1.LoadBalancerIPModeVIP) == corev1.LoadBalancerIPModeVIP {
				ips = append(ips, in.IP)
			}
		}
		sources := prefixes(family, svc.Spec.LoadBalancerSourceRanges)
		for _, ip := range addrs(family, ips) {
			f := Frontend{Kind: External, Addr: ip, Port: uint16(port.Port), Policy: external, Sources: sources}
			if !slices.ContainsFunc(out, func(o Frontend) bool { return o.Addr == f.Addr }) {
				out = append(out, f)
			}
		}
	}
	if port.NodePort != 0 {
		out = append(out, Frontend{Kind: NodePort, Port: uint16(port.NodePort), Policy: external})
	}
	return out
}

// endpoints picks who answers, on all nodes and on this one. These are the ready endpoints; where there is none, those that are being
// shut down but still serve are better than nobody (KEP-1669).
func endpoints(node Node, family corev1.IPFamily, port *corev1.ServicePort, list []*discoveryv1.EndpointSlice) (cluster, local []Endpoint) {
	var ready, fallback []Endpoint
	for _, slice := range list {
		number, ok := targetPort(slice, family, port)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 {
				continue
			}
			// Only the first address means anything; the API keeps more for history's sake.
			ip, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				continue
			}
			out := Endpoint{Addr: netip.AddrPortFrom(ip, number), Here: e.NodeName != nil && *e.NodeName == node.Name, hints: e.Hints}
			switch c := e.Conditions; {
			case ptr.Deref(c.Ready, true):
				ready = append(ready, out)
			case ptr.Deref(c.Serving, false) && ptr.Deref(c.Terminating, false):
				out.Terminating = true
				fallback = append(fallback, out)
			}
		}
	}
	ready, fallback = sorted(ready), sorted(fallback)
	if cluster = near(node, ready); len(ready) == 0 {
		cluster = fallback
	}
	if local = here(ready); len(local) == 0 {
		local = here(fallback)
	}
	return bare(cluster), bare(local)
}

// bare drops what was needed to choose: endpoints that answer alike are alike.
func bare(list []Endpoint) []Endpoint {
	out := slices.Clone(list)
	for i := range out {
		out[i].hints = nil
	}
	return out
}

func here(list []Endpoint) []Endpoint {
	var out []Endpoint
	for _, e := range list {
		if e.Here {
			out = append(out, e)
		}
	}
	return out
}

// sorted orders endpoints and drops repetitions: while an endpoint moves from one slice to another it may be in both.
func sorted(list []Endpoint) []Endpoint {
	slices.SortFunc(list, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(list, func(a, b Endpoint) bool { return a.Addr == b.Addr })
}

func targetPort(slice *discoveryv1.EndpointSlice, family corev1.IPFamily, port *corev1.ServicePort) (uint16, bool) {
	if string(slice.AddressType) != string(family) {
		return 0, false
	}
	for i := range slice.Ports {
		p := &slice.Ports[i]
		if p.Port != nil && ptr.Deref(p.Name, "") == port.Name && ptr.Deref(p.Protocol, corev1.ProtocolTCP) == port.Protocol {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// addrs parses the addresses of a family; "None" and anything else that is no address is left out. Of several spellings of one
// address, such as clusterIP and clusterIPs[0], one is kept.
func addrs(family corev1.IPFamily, list []string, more ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range append(slices.Clone(list), more...) {
		ip, err := netip.ParseAddr(s)
		if err == nil && ip.Is4() == (family == corev1.IPv4Protocol) && !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}

func prefixes(family corev1.IPFamily, list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err == nil && p.Addr().Is4() == (family == corev1.IPv4Protocol) {
			out = append(out, p.Masked())
		}
	}
	return out
}

package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// PortName names one port of one Service. It is comparable, and its String is what people see in rules and logs.
type PortName struct {
	Namespace, Service string
	// Port is the port's name; empty for the only port of a Service.
	Port     string
	Protocol corev1.Protocol
}

func (n PortName) String() string {
	s := n.Namespace + "/" + n.Service
	if n.Port != "" {
		s += ":" + n.Port
	}
	return s
}

// Balancer is one port of one Service, as one node has to serve it.
type Balancer struct {
	Name PortName
	// Frontends are where clients knock.
	Frontends []Frontend
	// Cluster are the endpoints that a Frontend with Policy Cluster sends to, which are not all where hints keep traffic near; Local those for Policy Local: the ones on this node.
	// New connections are spread evenly over them. Both are sorted.
	Cluster, Local []Endpoint
	// Affinity, unless zero, sends a client to the endpoint it had before, until it stayed away for this long.
	Affinity time.Duration
}

// Endpoint is one address that answers.
type Endpoint struct {
	Addr netip.AddrPort
	// Here says that the endpoint is on this node, so a client of it may be itself.
	Here bool
	// Terminating says that the endpoint is being shut down, and serves only because no other does.
	Terminating bool

	hints *discoveryv1.EndpointHints // while it is chosen
}

// Kind says what sort of address a Frontend is.
type Kind string

// The kinds.
const (
	// ClusterIP is an address of the Service for clients within the cluster.
	ClusterIP Kind = "ClusterIP"
	// External is an external IP or a load balancer's; its clients are outside the cluster.
	External Kind = "External"
	// NodePort is a port of every address of the node; its clients are outside the cluster.
	NodePort Kind = "NodePort"
)

// Policy says which endpoints a Frontend sends to.
type Policy string

// The policies, as service.spec.internalTrafficPolicy and externalTrafficPolicy name them.
const (
	Cluster Policy = "Cluster"
	Local   Policy = "Local"
)

// Frontend is one address and port that clients use.
type Frontend struct {
	Kind Kind
	// Addr is invalid for a NodePort.
	Addr   netip.Addr
	Port   uint16
	Policy Policy
	// Sources, unless empty, are the only clients let in (service.spec.loadBalancerSourceRanges).
	Sources []netip.Prefix
}

// String shows all of a Balancer, one line per part.
func (b Balancer) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s", b.Name, b.Name.Protocol)
	if b.Affinity > 0 {
		fmt.Fprintf(&s, " affinity=%s", b.Affinity)
	}
	s.WriteByte('\n')
	for _, f := range b.Frontends {
		addr := fmt.Sprintf("*:%d", f.Port)
		if f.Addr.IsValid() {
			addr = netip.AddrPortFrom(f.Addr, f.Port).String()
		}
		fmt.Fprintf(&s, "  %s %s -> %s", f.Kind, addr, f.Policy)
		if len(f.Sources) > 0 {
			fmt.Fprintf(&s, " from %v", f.Sources)
		}
		s.WriteByte('\n')
	}
	for _, list := range []struct {
		policy    Policy
		endpoints []Endpoint
	}{{Cluster, b.Cluster}, {Local, b.Local}} {
		if len(list.endpoints) == 0 {
			continue
		}
		fmt.Fprintf(&s, "  %s:", list.policy)
		for _, e := range list.endpoints {
			fmt.Fprintf(&s, " %s", e.Addr)
			if e.Here {
				s.WriteString("(here)")
			}
			if e.Terminating {
				s.WriteString("(terminating)")
			}
		}
		s.WriteByte('\n')
	}
	return s.String()
}

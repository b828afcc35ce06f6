package proxy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/proxy/rules"
)

// flow names connection-tracking entries of UDP "connections", which know no end: as long as a client keeps sending, its packets
// follow the entry and never meet the rules again. A field that is the zero value fits any.
type flow struct {
	// To is what the client sends to, the port alone for a NodePort.
	To     netip.Addr
	ToPort uint16
	// Answer is who answers, that is where the packets are sent on to.
	Answer netip.AddrPort
	// Untranslated are entries that were sent on to nobody, made while the Service had no endpoint.
	Untranslated bool
}

func (f flow) String() string {
	to, answer := fmt.Sprintf("*:%d", f.ToPort), "anyone"
	if f.To.IsValid() {
		to = netip.AddrPortFrom(f.To, f.ToPort).String()
	}
	switch {
	case f.Untranslated:
		answer = "nobody"
	case f.Answer.IsValid():
		answer = f.Answer.String()
	}
	return fmt.Sprintf("UDP to %s answered by %s", to, answer)
}

// staleFlows says which entries hide the difference between two states of a Service: those to endpoints that no longer serve, those to
// frontends that are gone, and those made while nobody served.
func staleFlows(old, list []rules.Balancer) []flow {
	var out []flow
	for _, b := range old {
		if b.Name.Protocol != corev1.ProtocolUDP {
			continue
		}
		at := slices.IndexFunc(list, func(n rules.Balancer) bool { return n.Name == b.Name })
		var now rules.Balancer
		if at >= 0 {
			now = list[at]
		}
		for _, f := range b.Frontends {
			stays := slices.ContainsFunc(now.Frontends, func(n rules.Frontend) bool { return n.Addr == f.Addr && n.Port == f.Port })
			if !stays {
				out = append(out, flow{To: f.Addr, ToPort: f.Port})
				continue
			}
			for _, e := range b.Cluster {
				if !serves(now, e) {
					out = append(out, flow{To: f.Addr, ToPort: f.Port, Answer: e.Addr})
				}
			}
		}
	}
	for _, b := range list {
		if b.Name.Protocol != corev1.ProtocolUDP || len(b.Cluster) == 0 {
			continue
		}
		at := slices.IndexFunc(old, func(o rules.Balancer) bool { return o.Name == b.Name })
		if at >= 0 && len(old[at].Cluster) > 0 {
			continue
		}
		for _, f := range b.Frontends {
			out = append(out, flow{To: f.Addr, ToPort: f.Port, Untranslated: true})
		}
	}
	return out
}

func serves(b rules.Balancer, e rules.Endpoint) bool {
	same := func(o rules.Endpoint) bool { return o.Addr == e.Addr }
	return slices.ContainsFunc(b.Cluster, same) || slices.ContainsFunc(b.Local, same)
}

// flows is a filter of the conntrack library: what any of them fits is deleted.
type flows []flow

// MatchConntrackFlow says whether an entry is one of the flows.
func (list flows) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	if c.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok1 := netip.AddrFromSlice(c.Forward.DstIP)
	answer, ok2 := netip.AddrFromSlice(c.Reverse.SrcIP)
	if !ok1 || !ok2 {
		return false
	}
	return slices.ContainsFunc(list, func(f flow) bool {
		return f.fits(netip.AddrPortFrom(to.Unmap(), c.Forward.DstPort), netip.AddrPortFrom(answer.Unmap(), c.Reverse.SrcPort))
	})
}

func (f flow) fits(to, answer netip.AddrPort) bool {
	return to.Port() == f.ToPort &&
		(!f.To.IsValid() || f.To == to.Addr()) &&
		(!f.Answer.IsValid() || f.Answer == answer) &&
		(!f.Untranslated || to == answer)
}

// forget deletes the flows from the kernel's table.
func (f family) forget(list []flow) error {
	if len(list) == 0 {
		return nil
	}
	inet := netlink.InetFamily(unix.AF_INET)
	if f.name == corev1.IPv6Protocol {
		inet = unix.AF_INET6
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, inet, flows(list)); err != nil {
		return fmt.Errorf("delete connection-tracking entries of UDP clients whose endpoint is gone: %w", err)
	}
	return nil
}

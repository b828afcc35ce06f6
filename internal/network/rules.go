package network

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/iptables"
)

// chainPrefix starts the name of every chain of this package.
const chainPrefix = "GITOPSD-N-"

var (
	masqueradeChain = iptables.Chain{Table: iptables.NAT, Name: chainPrefix + "MASQUERADE"}
	hostPortChain   = iptables.Chain{Table: iptables.NAT, Name: chainPrefix + "HOSTPORTS"}
	forwardChain    = iptables.Chain{Table: iptables.Filter, Name: chainPrefix + "FORWARD"}
	inputChain      = iptables.Chain{Table: iptables.Filter, Name: chainPrefix + "INPUT"}
)

// family is what differs between the rules of IPv4 and IPv6.
type family struct {
	iptables.Family
	loopback, multicast netip.Prefix
}

var families = []family{
	{iptables.IPv4, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/4")},
	{iptables.IPv6, netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("ff00::/8")},
}

// has says whether an address is of this family.
func (f family) has(a netip.Addr) bool { return a.Is4() == f.loopback.Addr().Is4() }

// only keeps the ranges of this family.
func (f family) only(list []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return !f.has(p.Addr()) })
}

// jumps lead the kernel's packets into the chains. A host port of the loopback address is for the node itself alone, so packets from
// elsewhere that name it are not translated.
func (f family) jumps() []iptables.Jump {
	chain := func(t iptables.Table, name string) iptables.Chain { return iptables.Chain{Table: t, Name: name} }
	toHostPorts := "-m addrtype --dst-type LOCAL -j " + hostPortChain.Name
	return []iptables.Jump{
		{From: chain(iptables.NAT, "PREROUTING"), Rule: "! -d " + f.loopback.String() + " " + toHostPorts},
		{From: chain(iptables.NAT, "OUTPUT"), Rule: toHostPorts},
		{From: chain(iptables.NAT, "POSTROUTING"), Rule: "-j " + masqueradeChain.Name},
		{From: chain(iptables.Filter, "FORWARD"), Rule: "-j " + forwardChain.Name},
		{From: chain(iptables.Filter, "INPUT"), Rule: "-d " + f.loopback.String() + " -j " + inputChain.Name},
	}
}

// chains is the whole rule set of one address family.
//
// Masqueraded, that is sent on under the node's own address, is what a Pod sends to places outside the cluster, which know no way back
// to a Pod; what the node sends from its loopback address to a Pod, through a host port or NodePort; and what a Pod sends through a
// host port to itself, which would otherwise be answered past the translation. Pods' multicast stays as it is.
//
// Ports of the loopback address work because route_localnet lets its packets leave the node (see setSysctls); so that this does not let
// others' packets in, what comes from elsewhere to the loopback address is dropped, as it is without that setting.
func (f family) chains(pod, cluster []netip.Prefix, pods map[string]record, randomFully bool) iptables.Chains {
	masquerade := "-j MASQUERADE"
	if randomFully {
		masquerade += " --random-fully"
	}
	pod, cluster = f.only(pod), f.only(cluster)

	masq, ports := []string{}, []string{}
	for _, uid := range slices.Sorted(maps.Keys(pods)) {
		r := pods[uid]
		at := slices.IndexFunc(r.IPs, f.has)
		if at < 0 || len(r.HostPorts) == 0 {
			continue
		}
		ip := netip.PrefixFrom(r.IPs[at], r.IPs[at].BitLen())
		masq = append(masq, fmt.Sprintf("-s %s -d %s %s", ip, ip, masquerade))
		list := slices.SortedFunc(slices.Values(r.HostPorts), func(a, b HostPort) int {
			return cmp.Or(cmp.Compare(a.HostPort, b.HostPort), cmp.Compare(a.Protocol, b.Protocol), a.HostIP.Compare(b.HostIP))
		})
		for _, hp := range list {
			if hp.anyAddr() || f.has(hp.HostIP) {
				ports = append(ports, hostPortRule(hp, r.IPs[at], r.Namespace+"/"+r.Name))
			}
		}
	}

	masq = append(masq, fmt.Sprintf("-s %s ! -d %s %s", f.loopback, f.loopback, masquerade))
	for _, p := range pod {
		for _, c := range cluster {
			masq = append(masq, fmt.Sprintf("-s %s -d %s -j RETURN", p, c))
		}
		masq = append(masq,
			fmt.Sprintf("-s %s -d %s -j RETURN", p, f.multicast),
			fmt.Sprintf("-s %s %s", p, masquerade))
	}
	forward := []string{}
	for _, c := range cluster {
		forward = append(forward, fmt.Sprintf("-s %s -j ACCEPT", c), fmt.Sprintf("-d %s -j ACCEPT", c))
	}
	return iptables.Chains{
		masqueradeChain: masq,
		hostPortChain:   ports,
		forwardChain:    forward,
		inputChain:      {fmt.Sprintf("! -s %s -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP", f.loopback)},
	}
}

// anyAddr says whether all of the node's addresses answer the port.
func (hp HostPort) anyAddr() bool { return !hp.HostIP.IsValid() || hp.HostIP.IsUnspecified() }

func hostPortRule(hp HostPort, ip netip.Addr, pod string) string {
	var b strings.Builder
	if !hp.anyAddr() {
		fmt.Fprintf(&b, "-d %s/%d ", hp.HostIP, hp.HostIP.BitLen())
	}
	proto := strings.ToLower(cmp.Or(string(hp.Protocol), string(corev1.ProtocolTCP)))
	fmt.Fprintf(&b, "-p %s -m comment --comment %s -m %s --dport %d -j DNAT --to-destination %s",
		proto, iptables.Quote(pod), proto, hp.HostPort, netip.AddrPortFrom(ip, hp.ContainerPort))
	return b.String()
}

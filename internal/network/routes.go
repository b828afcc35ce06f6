package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// route sends the packets for one node's Pods to that node: via its address, or through the tunnel via its gateway there.
type route struct {
	Dst    netip.Prefix
	Via    netip.Addr
	Tunnel bool
}

func (r route) String() string {
	if r.Tunnel {
		return fmt.Sprintf("%s via %s through the tunnel", r.Dst, r.Via)
	}
	return fmt.Sprintf("%s via %s", r.Dst, r.Via)
}

// wantedRoutes is one route per Pod range of every node but this host's own, through that node's InternalIP of the same family,
// or through the tunnel. A node that has no range or no address yet gets none. Two nodes that claim one range, which the control plane never grants, are settled by name.
func wantedRoutes(own func(*corev1.Node) bool, nodes []*corev1.Node, peers []peer) []route {
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	tunnelled := map[string]peer{}
	for _, p := range peers {
		tunnelled[p.Name] = p
	}
	seen := map[netip.Prefix]bool{}
	var want []route
	for _, n := range nodes {
		if own(n) || n.DeletionTimestamp != nil {
			continue
		}
		for _, cidr := range nodeCIDRs(n) {
			r, ok := route{Dst: cidr}, false
			if p, is := tunnelled[n.Name]; is && p.takes(n, cidr) {
				r.Via, r.Tunnel, ok = gateway(cidr), true, true
			} else {
				r.Via, ok = internalIP(n, cidr.Addr().Is4())
			}
			if !ok || seen[cidr] {
				continue
			}
			seen[cidr] = true
			want = append(want, r)
		}
	}
	return want
}

// sameRoutes says that nothing of a node has changed that routes are made from.
func sameRoutes(a, b *corev1.Node) bool {
	return slices.Equal(nodeCIDRs(a), nodeCIDRs(b)) && a.Annotations[AnnWireGuardKey] == b.Annotations[AnnWireGuardKey] && slices.Equal(a.Status.Addresses, b.Status.Addresses) && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil)
}

func nodeCIDRs(n *corev1.Node) []netip.Prefix {
	list := n.Spec.PodCIDRs
	if len(list) == 0 && n.Spec.PodCIDR != "" {
		list = []string{n.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

func internalIP(n *corev1.Node, v4 bool) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is4() == v4 {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

func isAddressOf(n *corev1.Node, ip netip.Addr) bool {
	return slices.ContainsFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool {
		return a.Type == corev1.NodeInternalIP && a.Address == ip.String()
	})
}

// leaveToOthers leaves out what another process of this host routes through its tunnel, or refuses unless it takes that, for who keeps none.
func leaveToOthers(want []route, refused []netip.Prefix, present []route) (wanted, had []route) {
	others := func(r route) bool {
		return slices.ContainsFunc(present, func(p route) bool { return p.Tunnel && p.Dst == r.Dst }) ||
			slices.ContainsFunc(refused, func(p netip.Prefix) bool { return p.Bits() <= r.Dst.Bits() && p.Contains(r.Dst.Addr()) })
	}
	return slices.DeleteFunc(slices.Clone(want), others), slices.DeleteFunc(slices.Clone(present), others)
}

// routeChanges says what turns present into want.
func routeChanges(want, present []route) (replace, remove []route) {
	for _, r := range want {
		if !slices.Contains(present, r) {
			replace = append(replace, r)
		}
	}
	for _, r := range present {
		if !slices.ContainsFunc(want, func(w route) bool { return w.Dst == r.Dst }) {
			remove = append(remove, r)
		}
	}
	return replace, remove
}

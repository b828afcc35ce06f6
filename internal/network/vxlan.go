package network

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Mode is how packets for another node's Pods get there.
type Mode string

const (
	// Auto routes them to nodes on a common link, and sends them through a tunnel to those behind a router, which knows nothing of Pods.
	Auto Mode = "auto"
	// HostGateway always routes them, and VXLAN always tunnels them.
	HostGateway Mode = "host-gw"
	VXLAN       Mode = "vxlan"
	// WireGuard always sends them encrypted, and none that are not.
	WireGuard Mode = "wireguard"
)

// Modes are all of them.
var Modes = []Mode{Auto, HostGateway, VXLAN, WireGuard}

const (
	tunnelName = "gitopsd-vx"
	// tunnelID tells the cluster's packets from those of other VXLANs at the same port, which is the kernel's own default.
	tunnelID   = int(routeProtocol)
	tunnelPort = 8472
)

// overhead is how much longer a packet becomes in a tunnel: by an Ethernet header and that of VXLAN (RFC 7348), or what WireGuard adds, and those of UDP and IP.
func (m Mode) overhead(underlay netip.Addr) int {
	own := 14 + 8
	if m == WireGuard {
		own = wireguardHeader
	}
	if underlay.Is4() {
		return own + 8 + 20
	}
	return own + 8 + 40
}

// tunnelMAC is the hardware address of a node's end of the tunnel, which the others know it by without asking.
func tunnelMAC(podCIDR netip.Prefix) net.HardwareAddr {
	mac := hardwareAddr(gateway(podCIDR))
	mac[1] = 'v'
	return mac
}

// tunnelAddr is the address of a node's end of the tunnel, and under which it sends itself: one of its range that no Pod has.
func tunnelAddr(podCIDR netip.Prefix) netip.Addr { return podCIDR.Masked().Addr() }

// peer is another node's end of the tunnel.
type peer struct {
	Name string
	Node netip.Addr
	// Key is what it has published for WireGuard.
	Key string
	// CIDRs are the node's Pod ranges. If it is far, all of them are reached through the tunnel, else those for which it has no address of their family.
	CIDRs []netip.Prefix
	Far   bool
}

// wantedPeers are the other nodes for whose Pods packets take the tunnel; their addresses of its own family say whether they are far.
func wantedPeers(own func(*corev1.Node) bool, nodes []*corev1.Node, v4 bool, far func(netip.Addr) bool) []peer {
	var out []peer
	for _, n := range nodes {
		if own(n) || n.DeletionTimestamp != nil {
			continue
		}
		ip, ok := internalIP(n, v4)
		if !ok && !far(ip) {
			continue
		}
		p := peer{Name: n.Name, Node: ip, Key: n.Annotations[AnnWireGuardKey], CIDRs: nodeCIDRs(n), Far: far(ip)}
		if slices.ContainsFunc(p.CIDRs, func(c netip.Prefix) bool { return p.takes(n, c) }) {
			out = append(out, p)
		}
	}
	return out
}

// takes tells whether packets for one of the node's ranges take the tunnel.
func (p peer) takes(n *corev1.Node, cidr netip.Prefix) bool {
	_, direct := internalIP(n, cidr.Addr().Is4())
	return p.Far || !direct
}

// tunnel is this node's end.
type tunnel struct {
	mode Mode
	// cidrs are this node's Pod ranges, mtu that of the link below.
	cidrs []netip.Prefix
	mtu   int
	link  *netlink.Handle
	// name is that of its interface.
	name string
	// cluster are the ranges of all nodes' Pods.
	cluster []netip.Prefix
	// wireguard is what encrypts, in the mode of that name.
	wireguard *wireguard
}

func newTunnel(cfg Config, link *netlink.Handle) *tunnel {
	t := &tunnel{mode: cfg.Mode, cidrs: cfg.PodCIDRs, mtu: cfg.MTU, link: link, name: tunnelName, cluster: cfg.ClusterCIDRs}
	if t.mode == WireGuard {
		t.name = cmp.Or(cfg.wireguard, wireguardName)
	}
	return t
}

// encrypts tells whether nothing is sent but through it.
func (t *tunnel) encrypts() bool { return t != nil && t.mode == WireGuard }

// prepare makes what does not depend on other nodes, and removes what another mode has left.
func (t *tunnel) prepare(cfg Config) (err error) {
	if !t.encrypts() {
		return removeTunnel(t.link, cmp.Or(cfg.wireguard, wireguardName))
	}
	if t.wireguard, err = newWireguard(cfg.StateDir, cfg.wireguard); err != nil {
		return err
	}
	if _, err := t.wireguard.link(t.link); err != nil {
		return fmt.Errorf("tunnel %s: %w", t.name, err)
	}
	return removeTunnel(t.link, tunnelName)
}

// far tells whether packets for a node's Pods take the tunnel. A node that no route leads to is not far: it says what is wrong when its Pods' routes are set.
func (t *tunnel) far(node netip.Addr) bool {
	switch t.mode {
	case WireGuard:
		return true // also one whose address is not known: nothing is sent to it as it is
	case VXLAN:
		return node.IsValid()
	case Auto:
		routes, err := t.link.RouteGet(node.AsSlice())
		return err == nil && len(routes) > 0 && routes[0].Gw != nil
	}
	return false
}

// tunnelIndex is that of the interface of the host's tunnel, or 0.
func tunnelIndex(h *netlink.Handle) (int, error) {
	for _, name := range []string{tunnelName, wireguardName} {
		if index, err := linkIndex(h, name); index != 0 || err != nil {
			return index, err
		}
	}
	return 0, nil
}

// linkIndex is that of the interface, or 0 if there is none.
func linkIndex(h *netlink.Handle, name string) (int, error) {
	l, err := h.LinkByName(name)
	if err != nil {
		return 0, ignoreNotFound(err)
	}
	return l.Attrs().Index, nil
}

// ensure makes this node's end of the tunnel, with the node's own address as the outer source.
func (t *tunnel) ensure(own netip.Addr) (index int, err error) {
	var l netlink.Link
	if t.wireguard != nil {
		if l, err = t.wireguard.link(t.link); err == nil {
			err = t.wireguard.identify()
		}
	} else {
		l, err = t.vxlan(own)
	}
	if err == nil {
		err = t.furnish(l, t.mtu-t.mode.overhead(own))
	}
	if err != nil {
		return 0, fmt.Errorf("tunnel %s: %w", t.name, err)
	}
	return l.Attrs().Index, nil
}

// vxlan makes the interface of a VXLAN.
func (t *tunnel) vxlan(own netip.Addr) (netlink.Link, error) {
	fail := func(what string, err error) (netlink.Link, error) { return nil, fmt.Errorf("%s: %w", what, err) }
	have, err := t.link.LinkByName(tunnelName)
	if err == nil {
		vx, ok := have.(*netlink.Vxlan)
		if !ok {
			return fail("look up", fmt.Errorf("an interface of this name exists and is a %s: rename or delete it", have.Type()))
		}
		if !vx.SrcAddr.Equal(own.AsSlice()) || vx.VxlanId != tunnelID || vx.Port != tunnelPort {
			if err := t.link.LinkDel(have); err != nil {
				return fail("remove that of a former address", err)
			}
			have = nil
		}
	} else if ignoreNotFound(err) != nil {
		return fail("look up", err)
	}
	if have == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = tunnelName, tunnelMAC(t.cidrs[0])
		if err := t.link.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: tunnelID, Port: tunnelPort, SrcAddr: own.AsSlice(), Learning: false}); err != nil {
			return fail("create", err)
		}
		if have, err = t.link.LinkByName(tunnelName); err != nil {
			return fail("look up", err)
		}
	}
	if !bytes.Equal(have.Attrs().HardwareAddr, tunnelMAC(t.cidrs[0])) {
		if err := t.link.LinkSetHardwareAddr(have, tunnelMAC(t.cidrs[0])); err != nil {
			return fail("set its hardware address", err)
		}
	}
	return have, nil
}

// furnish sets what both kinds of tunnel have.
func (t *tunnel) furnish(l netlink.Link, mtu int) error {
	if l.Attrs().MTU != mtu {
		if err := t.link.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set its MTU: %w", err)
		}
	}
	for _, c := range t.cidrs {
		addr := &netlink.Addr{IPNet: hostPrefix(tunnelAddr(c))}
		if c.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := t.link.AddrReplace(l, addr); err != nil {
			return fmt.Errorf("set its address: %w", err)
		}
	}
	if err := t.link.LinkSetUp(l); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}

// neighbours says for each peer's gateways which hardware address they have, and for that at which node it is.
func (t *tunnel) neighbours(index int, peers []peer) []netlink.Neigh {
	var out []netlink.Neigh
	for _, p := range peers {
		mac := tunnelMAC(p.CIDRs[0])
		out = append(out, netlink.Neigh{
			LinkIndex: index, Family: unix.AF_BRIDGE, State: unix.NUD_PERMANENT | unix.NUD_NOARP, Flags: netlink.NTF_SELF, IP: p.Node.AsSlice(), HardwareAddr: mac,
		})
		for _, c := range p.CIDRs {
			gw := gateway(c)
			out = append(out, netlink.Neigh{LinkIndex: index, Family: netlinkFamily(gw), State: unix.NUD_PERMANENT, IP: gw.AsSlice(), HardwareAddr: mac})
		}
	}
	return out
}

// meet makes the peers those that the tunnel leads to.
func (t *tunnel) meet(index int, peers []peer) error {
	if t.wireguard != nil {
		return t.wireguard.meet(peers)
	}
	want := t.neighbours(index, peers)
	var errs []error
	for i := range want {
		if err := t.link.NeighSet(&want[i]); err != nil {
			errs = append(errs, fmt.Errorf("tunnel %s: write the neighbour entry %s at %s: %w", tunnelName, want[i].IP, want[i].HardwareAddr, err))
		}
	}
	known := map[string]bool{}
	key := func(n *netlink.Neigh) string { return fmt.Sprint(n.Family, n.IP, n.HardwareAddr) }
	for i := range want {
		known[key(&want[i])] = true
	}
	for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET, unix.AF_INET6} {
		have, err := t.link.NeighList(index, family)
		if err != nil {
			return fmt.Errorf("tunnel %s: list its neighbours: %w", tunnelName, err)
		}
		for i := range have {
			n := &have[i]
			n.Family = family
			if n.State&unix.NUD_PERMANENT == 0 || len(n.IP) == 0 || known[key(n)] {
				continue
			}
			if err := ignoreNotFound(t.link.NeighDel(n)); err != nil {
				errs = append(errs, fmt.Errorf("tunnel %s: remove the neighbour entry %s: %w", tunnelName, n.IP, err))
			}
		}
	}
	return errors.Join(errs...)
}

func removeTunnel(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return ignoreNotFound(err)
	}
	return h.LinkDel(l)
}

package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Bridge is the interface through which the node's Pods reach it.
const Bridge = "gitopsd0"

// Names of interfaces.
const (
	bridgeName    = Bridge
	podInterface  = "eth0"
	hostEndPrefix = "gp"
)

// hostInterface names the node's end of a Pod's veth pair: the same for a UID at all times, so that nothing needs to be remembered, and
// within the 15 characters of IFNAMSIZ.
func hostInterface(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hostEndPrefix + hex.EncodeToString(sum[:6])
}

func isHostInterface(name string) bool {
	return len(name) == len(hostEndPrefix)+12 && strings.HasPrefix(name, hostEndPrefix)
}

// hardwareAddr is a locally administered unicast address made from the IP. As it never changes for an IP, neighbour entries can be
// written down for good and a Pod's first packet waits for no ARP.
func hardwareAddr(ip netip.Addr) net.HardwareAddr {
	b := ip.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x67}, b[len(b)-4:]...)
}

type bridge struct {
	index int
	mac   net.HardwareAddr
	// gateways are the bridge's addresses, in the order of the node's ranges.
	gateways []netip.Addr
}

func hostPrefix(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// defaultMTU is that of the interface with the default route, so that a Pod's packet that fits its own interface fits the node's.
func defaultMTU(h *netlink.Handle) int {
	const ethernet = 1500
	routes, err := h.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return ethernet
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if l, err := h.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU > 0 {
			return l.Attrs().MTU
		}
	}
	return ethernet
}

// ensureBridge makes the bridge as it should be, or changes the one that is there.
func ensureBridge(h *netlink.Handle, cfg Config) (bridge, error) {
	var b bridge
	for _, cidr := range cfg.PodCIDRs {
		b.gateways = append(b.gateways, gateway(cidr))
	}
	b.mac = hardwareAddr(b.gateways[0])
	fail := func(what string, err error) (bridge, error) {
		return b, fmt.Errorf("bridge %s: %s: %w", bridgeName, what, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = bridgeName, cfg.MTU, b.mac
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fail("create", err)
	}
	link, err := h.LinkByName(bridgeName)
	if err != nil {
		return fail("look up", err)
	}
	if _, ok := link.(*netlink.Bridge); !ok {
		return fail("look up", fmt.Errorf("an interface of this name exists and is a %s: rename or delete it", link.Type()))
	}
	b.index = link.Attrs().Index
	if link.Attrs().HardwareAddr.String() != b.mac.String() {
		if err := h.LinkSetHardwareAddr(link, b.mac); err != nil {
			return fail("set its hardware address", err)
		}
	}
	if link.Attrs().MTU != cfg.MTU {
		if err := h.LinkSetMTU(link, cfg.MTU); err != nil {
			return fail("set its MTU", err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fail("set up", err)
	}
	return b, ensureBridgeAddrs(h, link, cfg.PodCIDRs)
}

// ensureBridgeAddrs gives the bridge the gateway address of each range and takes away any other, such as that of an earlier range.
func ensureBridgeAddrs(h *netlink.Handle, link netlink.Link, cidrs []netip.Prefix) error {
	present, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("bridge %s: list its addresses: %w", bridgeName, err)
	}
	var want []string
	for _, cidr := range cidrs {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: gateway(cidr).AsSlice(), Mask: net.CIDRMask(cidr.Bits(), cidr.Addr().BitLen())}}
		if cidr.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("bridge %s: set its address %s: %w", bridgeName, addr, err)
		}
		want = append(want, addr.IPNet.String())
	}
	for _, a := range present {
		if a.IP.IsLinkLocalUnicast() || slices.Contains(want, a.IPNet.String()) {
			continue
		}
		if err := h.AddrDel(link, &a); err != nil {
			return fmt.Errorf("bridge %s: remove its former address %s: %w", bridgeName, a.IPNet, err)
		}
	}
	return nil
}

func (b bridge) remove(h *netlink.Handle) error {
	l, err := h.LinkByIndex(b.index)
	if err != nil {
		return ignoreNotFound(err)
	}
	return h.LinkDel(l)
}

// connect joins the namespace at path to the bridge under the name host. Interfaces that are as they should be are left alone.
func (n *Network) connect(path, host string, ips []netip.Addr, bandwidth Bandwidth) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open its network namespace %s: %w", path, err)
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in its network namespace %s: %w", path, err)
	}
	defer inside.Close()

	mac := hardwareAddr(ips[0])
	if err := n.ensureVeth(ns, inside, host, mac); err != nil {
		return err
	}
	if err := n.shape(inside, host, bandwidth); err != nil {
		return err
	}
	for i, ip := range ips {
		if err := n.link.NeighSet(&netlink.Neigh{
			LinkIndex: n.bridge.index, Family: netlinkFamily(ip), State: unix.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: mac,
		}); err != nil {
			return fmt.Errorf("write its neighbour entry %s: %w", ip, err)
		}
		if err := configurePodAddr(inside, ip, n.bridge.gateways[i], n.bridge.mac); err != nil {
			return err
		}
	}
	return nil
}

// ensureVeth makes the pair, unless it is there with its other end in the right namespace.
func (n *Network) ensureVeth(ns netns.NsHandle, inside *netlink.Handle, host string, mac net.HardwareAddr) error {
	add := func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = host, n.cfg.MTU
		return n.link.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: podInterface, PeerMTU: uint32(n.cfg.MTU),
			PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(int(ns)),
		})
	}
	err := add()
	if errors.Is(err, unix.EEXIST) {
		// EEXIST may speak of either end. A pair whose ends are both in place is kept; anything else of these names is in the way.
		outer, outerErr := n.link.LinkByName(host)
		inner, innerErr := inside.LinkByName(podInterface)
		switch {
		case outerErr == nil && innerErr == nil && outer.Attrs().ParentIndex == inner.Attrs().Index && inner.Attrs().ParentIndex == outer.Attrs().Index:
			err = nil
		case outerErr == nil:
			if err = ignoreNotFound(n.link.LinkDel(outer)); err == nil {
				err = add()
			}
		case innerErr == nil:
			return fmt.Errorf("its network namespace has an interface %s already, of type %s", podInterface, inner.Type())
		}
	}
	if err != nil {
		return fmt.Errorf("make the veth pair %s: %w", host, err)
	}
	outer, err := n.link.LinkByName(host)
	if err != nil {
		return fmt.Errorf("look up %s: %w", host, err)
	}
	if err := n.link.LinkSetMasterByIndex(outer, n.bridge.index); err != nil {
		return fmt.Errorf("join %s to bridge %s: %w", host, bridgeName, err)
	}
	if err := n.link.LinkSetHairpin(outer, true); err != nil {
		return fmt.Errorf("turn on hairpin mode of port %s of bridge %s: %w", host, bridgeName, err)
	}
	if err := n.link.LinkSetUp(outer); err != nil {
		return fmt.Errorf("set %s up: %w", host, err)
	}
	return nil
}

func netlinkFamily(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// configurePodAddr sets what is inside the Pod's namespace: interfaces up, the address, and the bridge as the way to everywhere.
func configurePodAddr(inside *netlink.Handle, ip, gw netip.Addr, gwMAC net.HardwareAddr) error {
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("look up its loopback interface: %w", err)
	}
	if err := inside.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set its loopback interface up: %w", err)
	}
	eth, err := inside.LinkByName(podInterface)
	if err != nil {
		return fmt.Errorf("look up its %s: %w", podInterface, err)
	}
	if err := inside.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set its %s up: %w", podInterface, err)
	}
	addr := &netlink.Addr{IPNet: hostPrefix(ip)}
	if ip.Is6() {
		addr.Flags = unix.IFA_F_NODAD // the address is ours alone; waiting a second for others to object would delay every Pod
	}
	if err := inside.AddrReplace(eth, addr); err != nil {
		return fmt.Errorf("set its address %s: %w", ip, err)
	}
	index := eth.Attrs().Index
	if err := inside.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: netlinkFamily(gw), State: unix.NUD_PERMANENT, IP: gw.AsSlice(), HardwareAddr: gwMAC,
	}); err != nil {
		return fmt.Errorf("write its neighbour entry of the gateway %s: %w", gw, err)
	}
	if err := inside.RouteReplace(&netlink.Route{LinkIndex: index, Dst: hostPrefix(gw), Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("set its route to the gateway %s: %w", gw, err)
	}
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gw.Is6() {
		everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if err := inside.RouteReplace(&netlink.Route{LinkIndex: index, Dst: ipNet(everywhere), Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
		return fmt.Errorf("set its default route through %s: %w", gw, err)
	}
	return nil
}

// disconnect deletes the pair, wherever its other end is; the kernel waits until packets under way have left it.
func (n *Network) disconnect(host string, ips []netip.Addr) error {
	for _, ip := range ips {
		err := n.link.NeighDel(&netlink.Neigh{LinkIndex: n.bridge.index, Family: netlinkFamily(ip), IP: ip.AsSlice()})
		if ignoreNotFound(err) != nil {
			return fmt.Errorf("remove the neighbour entry %s: %w", ip, err)
		}
	}
	l, err := n.link.LinkByName(host)
	if err == nil {
		err = n.link.LinkDel(l)
	}
	if ignoreNotFound(err) != nil {
		return fmt.Errorf("delete %s: %w", host, err)
	}
	return nil
}

// ignoreNotFound turns the errors that mean "it is gone already" into none.
func ignoreNotFound(err error) error {
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

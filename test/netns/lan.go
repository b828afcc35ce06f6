package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
)

// LAN is a switch, cut off from the machine, that a test plugs hosts into. Its addresses are 10.89.0.0/24.
type LAN struct {
	ns    string
	hosts byte
}

// NewLAN makes a LAN without hosts. It must run below Main.
func NewLAN(t testing.TB) *LAN {
	t.Helper()
	l := &LAN{ns: New(t)}
	must(t, l.ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "switch"
		br := &netlink.Bridge{LinkAttrs: attrs}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	})
	return l
}

// Host plugs in one more host, by its interface eth0, and returns its namespace and address.
func (l *LAN) Host(t testing.TB) (string, netip.Addr) {
	t.Helper()
	l.hosts++
	ns, ip := New(t), netip.AddrFrom4([4]byte{10, 89, 0, 10 + l.hosts})
	f, err := os.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	must(t, l.ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = fmt.Sprint("port", l.hosts)
		port := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(f.Fd()))}
		if err := netlink.LinkAdd(port); err != nil {
			return err
		}
		br, err := netlink.LinkByName("switch")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, br); err != nil {
			return err
		}
		return netlink.LinkSetUp(port)
	})
	must(t, ns, func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(eth, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(eth); err != nil {
			return err
		}
		// As on a real host there is a way to everywhere, if to nobody: a packet to a Service's address needs one before it is translated.
		return netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}})
	})
	return ns, ip
}

func must(t testing.TB, ns string, f func() error) {
	t.Helper()
	if err := Do(ns, f); err != nil {
		t.Fatal(err)
	}
}

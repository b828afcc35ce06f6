package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopback is the interface that holds the addresses: it is on every host, and never goes down.
const loopback = "lo"

func loopbackAddress(a netip.Addr) (netlink.Link, *netlink.Addr, error) {
	link, err := netlink.LinkByName(loopback)
	if err != nil {
		return nil, nil, fmt.Errorf("look up %s: %w", loopback, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return link, addr, nil
}

func addAddress(a netip.Addr) error {
	link, addr, err := loopbackAddress(a)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add %s to %s: %w", a, loopback, err)
	}
	return nil
}

func removeAddress(a netip.Addr) error {
	link, addr, err := loopbackAddress(a)
	if err != nil {
		return err
	}
	if err := netlink.AddrDel(link, addr); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove %s from %s: %w", a, loopback, err)
	}
	return nil
}

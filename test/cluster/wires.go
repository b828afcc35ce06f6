package cluster

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/gitopsd/gitopsd/test/netns"
)

// Addresses of the outer network.
const (
	outerIP        = "10.89.0.1"
	controlPlaneIP = "10.89.0.2"
	prefixBits     = 24
	// maxWorkers keeps workers' addresses, from 10.89.0.11 on, within the network.
	maxWorkers = 200
)

func workerIP(n int) string { return fmt.Sprintf("10.89.0.%d", 10+n) }

const switchName = "switch"

// wire makes the outer namespace with its bridge, and every host with an interface eth0 that is plugged into it.
func (c *Cluster) wire() error {
	outer := netns.Path(c.rec.outer())
	if err := netns.Create(outer); err != nil {
		return err
	}
	err := netns.Do(outer, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = switchName
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("make the bridge: %w", err)
		}
		if err := addressAndUp(switchName, outerIP); err != nil {
			return err
		}
		// The outer namespace is the hosts' gateway and has no route to anywhere: as a router it says so at once, where a mere host would
		// drop packets silently and let every attempt run into its timeout.
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
	if err != nil {
		return err
	}
	for _, h := range c.rec.Hosts {
		if err := c.plug(h); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
	return nil
}

func (c *Cluster) plug(h Host) error {
	path := netns.Path(h.NetNS)
	if err := netns.Create(path); err != nil {
		return err
	}
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	err = netns.Do(netns.Path(c.rec.outer()), func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = h.Name
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))}); err != nil {
			return fmt.Errorf("make the cable: %w", err)
		}
		port, err := netlink.LinkByName(h.Name)
		if err != nil {
			return err
		}
		br, err := netlink.LinkByName(switchName)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, br); err != nil {
			return err
		}
		return netlink.LinkSetUp(port)
	})
	if err != nil {
		return err
	}
	return netns.Do(path, func() error {
		if err := addressAndUp("eth0", h.IP); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Gw: net.ParseIP(outerIP)})
	})
}

func addressAndUp(name, ip string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(prefixBits, 32)}}); err != nil {
		return fmt.Errorf("give %s the address %s: %w", name, ip, err)
	}
	return netlink.LinkSetUp(l)
}

// Unplug cuts a host off from all others; its processes run on.
func (c *Cluster) Unplug(host string) error { return c.setPort(host, netlink.LinkSetDown) }

// Plug joins a host that was unplugged.
func (c *Cluster) Plug(host string) error { return c.setPort(host, netlink.LinkSetUp) }

func (c *Cluster) setPort(host string, set func(netlink.Link) error) error {
	if _, err := c.Host(host); err != nil {
		return err
	}
	return netns.Do(netns.Path(c.rec.outer()), func() error {
		l, err := netlink.LinkByName(host)
		if err != nil {
			return err
		}
		return set(l)
	})
}

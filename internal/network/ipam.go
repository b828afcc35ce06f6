package network

import (
	"fmt"
	"net/netip"
)

// gateway is the bridge's own address in a node's range: the first one after the network's address.
func gateway(cidr netip.Prefix) netip.Addr { return cidr.Masked().Addr().Next() }

// lastAddr is the highest address of a range; of an IPv4 range that is the broadcast address.
func lastAddr(cidr netip.Prefix) netip.Addr {
	b := cidr.Masked().Addr().AsSlice()
	for i := cidr.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// allocate picks the first free address after the one given out last, starting over at the end of the range. So an address that was
// just given back is the last to be used again: a client or a connection-tracking entry that still knows it does not meet a stranger.
// The network's address, the gateway and the IPv4 broadcast address are never given out.
func allocate(cidr netip.Prefix, last netip.Addr, used map[netip.Addr]string) (netip.Addr, error) {
	first := gateway(cidr).Next()
	end := lastAddr(cidr)
	if cidr.Addr().Is4() {
		end = end.Prev()
	}
	if !cidr.Contains(first) || first.Compare(end) > 0 {
		return netip.Addr{}, fmt.Errorf("the node's Pod range %s has no room for a Pod: give the node a larger one", cidr)
	}
	start := first
	if cidr.Contains(last) && last.Compare(first) >= 0 && last.Compare(end) < 0 {
		start = last.Next()
	}
	for a := start; ; {
		if _, taken := used[a]; !taken {
			return a, nil
		}
		if a = a.Next(); a.Compare(end) > 0 {
			a = first
		}
		if a == start {
			return netip.Addr{}, fmt.Errorf("all addresses of the node's Pod range %s are in use: give the node a larger range or run fewer Pods on it", cidr)
		}
	}
}

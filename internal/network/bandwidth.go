package network

import (
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
)

// Bandwidth is how much a Pod may receive and send, in bits per second; zero is as much as there is.
type Bandwidth struct {
	Ingress, Egress uint64
}

// What a token bucket may save up and keep waiting, in seconds of its rate. Less would starve a connection whenever the machine is busy for a moment; the least is
// what the kernel hands over as one packet before it is cut up.
const (
	burstSeconds = 0.05
	queueSeconds = 0.1
	leastBurst   = 96 << 10
)

// burst is how many bytes may be sent at once at a rate in bytes per second.
func burst(rate uint64) uint32 {
	return uint32(min(max(float64(rate)*burstSeconds, leastBurst), math.MaxInt32/2))
}

// bucket holds packets on their way out of an interface back to a rate.
func bucket(link netlink.Link, bits uint64) *netlink.Tbf {
	rate := max(bits/8, 1)
	burst := burst(rate)
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate,
		Buffer:     uint32(min(netlink.Xmittime(rate, burst), math.MaxUint32)),
		Limit:      burst + uint32(min(float64(rate)*queueSeconds, math.MaxInt32)),
	}
}

// shape sets what a Pod may receive, at the node's end of its veth pair, and what it may send, at its own: each end holds back what leaves it.
func (n *Network) shape(inside *netlink.Handle, host string, b Bandwidth) error {
	for _, end := range []struct {
		at   *netlink.Handle
		name string
		bits uint64
	}{{n.link, host, b.Ingress}, {inside, podInterface, b.Egress}} {
		if end.bits == 0 {
			continue
		}
		link, err := end.at.LinkByName(end.name)
		if err != nil {
			return fmt.Errorf("look up %s: %w", end.name, err)
		}
		if err := end.at.QdiscReplace(bucket(link, end.bits)); err != nil {
			return fmt.Errorf("limit %s to %d bits a second, for which the kernel needs sch_tbf: %w", end.name, end.bits, err)
		}
	}
	return nil
}

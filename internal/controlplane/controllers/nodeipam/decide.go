package nodeipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/network"
)

// Pool is what blocks are cut from.
type Pool struct {
	Cluster netip.Prefix
	Bits    int // length of a block's prefix, such as 24
}

// The sizes of blocks, as Kubernetes has them by default.
const (
	ipv4Bits = 24
	ipv6Bits = 64
)

// NewPool checks that blocks of that size fit.
func NewPool(cluster netip.Prefix, bits int) (Pool, error) {
	if !cluster.IsValid() || bits < cluster.Bits() || bits > cluster.Addr().BitLen() {
		return Pool{}, fmt.Errorf("cluster CIDR %s cannot be cut into blocks of /%d: give a block size from /%d to /%d", cluster, bits, cluster.Bits(), cluster.Addr().BitLen())
	}
	if bits-cluster.Bits() > 20 {
		return Pool{}, fmt.Errorf("cluster CIDR %s cut into blocks of /%d makes more than a million: give larger blocks or a smaller cluster CIDR", cluster, bits)
	}
	return Pool{Cluster: cluster.Masked(), Bits: bits}, nil
}

// Pools are those of the cluster's ranges, with blocks of the usual size: as many IPv4 addresses as a node can use, and a link's worth of IPv6 addresses, or if the
// cluster has less than 256 of those, a 256th of what it has.
func Pools(cluster []netip.Prefix) ([]Pool, error) {
	if len(cluster) == 0 {
		return nil, errors.New("there is no cluster CIDR to cut blocks of Pod addresses from")
	}
	var out []Pool
	for _, c := range cluster {
		bits := ipv4Bits
		if !c.Addr().Is4() {
			bits = max(ipv6Bits, min(c.Bits()+8, 128))
		}
		p, err := NewPool(c, bits)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// size is the number of blocks.
func (p Pool) size() int { return 1 << (p.Bits - p.Cluster.Bits()) }

// block is the i-th block.
func (p Pool) block(i int) netip.Prefix {
	b := p.Cluster.Addr().AsSlice()
	// i is added at bit position Bits, counted from the left.
	for at, v := p.Bits-1, i; v > 0; at, v = at-1, v>>1 {
		if v&1 == 1 {
			b[at/8] |= 1 << (7 - at%8)
		}
	}
	addr, _ := netip.AddrFromSlice(b) // as long as it was
	return netip.PrefixFrom(addr, p.Bits)
}

// overlapped is the range of blocks, the end excluded, that share addresses with t; 0, 0 for none.
func (p Pool) overlapped(t netip.Prefix) (from, to int) {
	if !p.Cluster.Overlaps(t) {
		return 0, 0
	}
	if t.Bits() <= p.Cluster.Bits() {
		return 0, p.size()
	}
	for at, b := p.Cluster.Bits(), t.Addr().AsSlice(); at < p.Bits; at++ {
		from = from<<1 | int(b[at/8]>>(7-at%8))&1
	}
	return from, from + 1<<max(0, p.Bits-t.Bits())
}

// Free returns a block that overlaps none of taken. The search starts behind the highest block in use and goes round, so that the addresses of a
// Node which is gone are used again as late as possible: others may still hold routes or connections to them.
func (p Pool) Free(taken []netip.Prefix) (netip.Prefix, bool) {
	used := make([]bool, p.size())
	highest := -1
	for _, t := range taken {
		from, to := p.overlapped(t)
		for i := from; i < to; i++ {
			used[i] = true
		}
		highest = max(highest, to-1)
	}
	for n := range used {
		if i := (highest + 1 + n) % len(used); !used[i] {
			return p.block(i), true
		}
	}
	return netip.Prefix{}, false
}

// Choose returns one of the blocks that a Node has in use, if it is one of the pool's and overlaps none of taken, and otherwise a free one.
func (p Pool) Choose(inUse, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, b := range inUse {
		if from, to := p.overlapped(b); b.Bits() == p.Bits && to == from+1 && !slices.ContainsFunc(taken, b.Overlaps) {
			return b, true
		}
	}
	return p.Free(taken)
}

// InUse are the blocks that a Node says its Pods have addresses of, though it has been given none: there was a Node of its name before.
func InUse(n *corev1.Node) []netip.Prefix {
	var out []netip.Prefix
	for s := range strings.SplitSeq(n.Annotations[network.AnnPodCIDRs], ",") {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// Blocks are the blocks a Node has; what does not parse is left out, and cannot come from an API server that validates.
func Blocks(n *corev1.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

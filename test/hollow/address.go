package hollow

import (
	"hash/fnv"
	"net/netip"

	v1 "k8s.io/api/core/v1"
)

// address is one of the node's own for a Pod: what its name comes to, since nothing is ever sent there and two Pods with one address harm nobody.
func (n *Node) address(p *v1.Pod) string {
	if p.Spec.HostNetwork {
		return n.ip
	}
	node := n.stored()
	if node == nil || len(node.Spec.PodCIDRs) == 0 {
		return n.ip
	}
	prefix, err := netip.ParsePrefix(node.Spec.PodCIDRs[0])
	if err != nil || !prefix.Addr().Is4() {
		return n.ip
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.UID)) // a hash takes everything
	b := prefix.Masked().Addr().As4()
	b[3] = byte(h.Sum32()%253) + 2
	return netip.AddrFrom4(b).String()
}

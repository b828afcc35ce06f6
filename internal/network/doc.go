// Package network is the Pod network of one node.
//
// In: Pods whose network namespace exists already, the node's share of the cluster's address range, and the cluster's Nodes.
// Out: an address for each Pod, the same one for as long as its UID lives, also after a restart; a veth pair that joins the Pod's
// namespace to the node's bridge, and holds back what exceeds its bandwidth; a route to each other node's Pods through that node's
// InternalIP, through a VXLAN tunnel to nodes that are behind a router, or encrypted by WireGuard to all, where packets that cannot be are refused; and
// iptables rules that masquerade what leaves the cluster and forward host ports.
//
// Where there are CNI plugins, they make interfaces and lead packets to other nodes; the rest stays.
//
// A Pod has a /32 (or /128) address and reaches everything, its neighbours on the bridge too, through the bridge's own address. So
// every packet between Pods is routed, and passes the node's netfilter hooks and connection tracking in both directions, whether or
// not the br_netfilter module is loaded. Where it is loaded, the kernel bridges what a Service's rules send from one Pod to another of the
// same node, and back to the same Pod only through a port in hairpin mode, which is why ports are in it.
//
// It never creates or deletes a Pod's namespace, never talks to the API server, and knows nothing of Services.
package network

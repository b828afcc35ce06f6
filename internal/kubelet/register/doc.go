// Package register tells the cluster of this node: the Node object with what the machine has and how it is, and the Lease that says that it lives.
//
// In: what the machine has, whether containerd and the network work. Out: a Node, its status, its Lease.
//
// It writes nothing that others own: labels and taints that somebody set stay, spec.podCIDRs is the control plane's. It never evicts.
package register

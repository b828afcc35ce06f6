// Package kubelet is the node daemon: it joins this host to a cluster and runs the Pods that are bound to it.
//
// In: the address of an API server, a join token, a data directory. Out: a registered Node, its Pods as containers of containerd, their addresses,
// the rules for Services, a server for logs and commands.
//
// The daemon may be killed at any instruction and started again: what it needs is in its data directory, in containerd and at the API. Ending it, in
// whatever way, touches no container. This package only puts the parts together; each has a folder of its own.
package kubelet

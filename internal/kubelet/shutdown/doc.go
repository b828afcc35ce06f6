// Package shutdown is what a node needs to end its Pods in order when its host shuts down.
//
// In: the periods that the node's flags give, the node's Pods, and word that the host is about to go down: from systemd-logind, or from `node shutdown`.
// Out: the turns in which Pods end (a pure decision), and the call of a function that ends them.
//
// It never ends a Pod itself, and takes the end of the daemon, by SIGTERM or otherwise, for nothing more than that: containers outlive it.
//
// Names, periods and order are the kubelet's (KEP-2000, KEP-2712).
package shutdown

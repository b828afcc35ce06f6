// Package nodeipam gives each Node a block of Pod addresses out of the cluster's.
//
// In: Nodes from the informer, the cluster CIDRs (one, or one of each family) and the sizes of blocks. Out: spec.podCIDR and spec.podCIDRs of Nodes that have none; the Event
// CIDRNotAvailable where no block is free. What is taken is read from the Nodes themselves, so nothing is lost with a restart, and a
// Node that registers with a block of its own keeps it. It never changes or takes away a block while its Node exists.
package nodeipam

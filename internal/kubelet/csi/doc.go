// Package csi mounts the volumes of storage drivers that run on the node, as the Container Storage Interface has it
// (github.com/container-storage-interface/spec).
//
// In: drivers that register (package plugins), and Pods' volumes: of a PersistentVolume or inline. Out: a path per volume for the Pod's containers, the node's CSINode, its ID
// and topology at the Node, which volumes are in use, and how full they are.
//
// The life of a volume: it is said to be in use, waited for until it is attached where its driver wants that, staged once on the node, published for each Pod; and back in
// the opposite order. Which calls that takes is decided in plan.go (pure). What is about to be done is written to the disk before it is done, next to the mounts, so
// that a daemon that was killed anywhere knows what to undo; the calls of the interface may all be repeated.
//
// Every call has an end, and holds up only the Pod that it is for and others of the same volume. A driver's word is not taken for what can be seen: a volume that
// is said to be published and is not there is an error, as a Pod would write to the node's disk instead.
//
// It never makes, attaches or deletes volumes: that is done by the driver's own controllers in the cluster.
package csi

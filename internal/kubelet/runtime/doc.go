// Package runtime is the node's view of containerd.
//
// In: what a container is to be (an OCI specification, an image's snapshot, pipes for its output), and orders to start, signal and delete it.
// Out: the containers there are, with how far they have come; events when one ends; processes executed in them.
//
// Containers are found again after any crash by what containerd itself holds: their labels and their tasks. IDs are derived from Pod, name and
// attempt, so an order that was interrupted and is given again meets what the first one left, never makes a second container.
//
// What containerd itself forgets is seen to here: directories of removed snapshots (Collect), shims that it lost (EndShims).
//
// It never decides or looks at Pods, and tries nothing again but such a collection.
package runtime

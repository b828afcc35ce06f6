// Package inspect tells what a node runs and which images it has, without a control plane and without the daemon.
//
// In: the node's data directory, where each Pod's checkpoint is, and what containerd has, if it answers. Out: a report, for a person or for a program. It changes nothing
// but images, when asked to.
package inspect

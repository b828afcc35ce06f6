// Package core chooses a node for a Pod.
//
// In: a Pod and a snapshot of the cluster. Out: a Result: the node, or why each node was turned away and by which filter. It imports no client and no
// informer, reads no clock, and changes nothing in the snapshot: the caller assumes the Pod onto the node, or lets it wait.
package core

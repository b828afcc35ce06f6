// Package core chooses a node for a Pod, or for the Pods of a gang at once.
//
// In: a Pod, a profile, and a snapshot of the cluster. Out: a Decision: the node, or whose room the Pod can take, or why each node was turned away and by
// which filter; and Verdicts, which say all that can be said, for people. It imports no client and no informer and reads no clock. It tries things out on
// the snapshot and leaves it as it was: the caller assumes the Pod onto the node, has the victims deleted, or lets the Pod wait.
package core

// Package snapshot is what the scheduler knows: every node with what it offers and what the Pods on it take.
//
// In: Nodes, Pods, volumes and budgets, one change at a time. Out: nodes to be looked at by filters and scores, with sums that are kept up to date rather than
// counted anew. It has no lock, no clock and no client: its owner decides when it changes. What a decision tries out on it (Trial) is taken back.
//
// A Pod is on a node from the moment the scheduler decides so (it is assumed), not from when the API server says so: the next decision must
// already count it.
package snapshot

// Package replicaset keeps the number of Pods that a ReplicaSet or a ReplicationController asks for.
//
// In: ReplicaSets, ReplicationControllers and Pods from the informers. Out: Pods created, deleted, adopted and released; their status; Events
// SuccessfulCreate, SuccessfulDelete, FailedCreate and FailedDelete. It never changes a Pod's spec, never looks at nodes, and never creates or deletes
// twice because its cache is late: what it has written but not yet seen is counted from a ledger.
package replicaset

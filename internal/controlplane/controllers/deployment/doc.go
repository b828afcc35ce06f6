// Package deployment rolls a Deployment's Pod template out by scaling ReplicaSets.
//
// In: Deployments, ReplicaSets and (for the Recreate strategy) Pods from the informers. Out: ReplicaSets created, scaled, annotated and
// deleted; the Deployment's status and revision annotation; Events ScalingReplicaSet. It never touches a Pod: that is the ReplicaSet's
// controller's business.
//
// One call of Decide makes one step. The step's own effects come back as events and lead to the next one, so nothing is waited for.
// Every ReplicaSet is named by a hash of the Pod template: a create that is repeated, by a late cache or after a crash, meets itself.
package deployment

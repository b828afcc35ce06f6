// Package statefulset keeps Pods that have names, an order and volumes of their own: the controller of StatefulSets.
//
// In: StatefulSets, their Pods, PersistentVolumeClaims and ControllerRevisions, the writes that the caches do not show yet, and the time. Out: Pods and claims
// created, Pods deleted, owner references of claims, the StatefulSet's status, and Events.
//
// A Pod's name is the StatefulSet's and an ordinal, and the API holds one object of a name: there are never two Pods of one ordinal, since a Pod is made only
// once the one before is gone. Deletes name the UID that was decided about. While a Pod just created is not in the cache, nothing is decided; a write of unknown
// outcome is asked after first.
//
// It never deletes a claim (the garbage collector does, by the owner references), never binds one, and never gives up a Pod that its node does not answer for.
package statefulset

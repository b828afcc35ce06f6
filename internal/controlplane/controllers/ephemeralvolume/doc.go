// Package ephemeralvolume makes the claims of Pods' generic ephemeral volumes (KEP-1698): a claim per volume, which is the Pod's own and goes with it.
//
// In: Pods, and the claims of their namespaces. Out: claims, and Events at Pods whose claim cannot be made. It never changes or deletes a claim: the garbage
// collector does that once the Pod is gone.
package ephemeralvolume

// Package claim settles which objects a controller object (a ReplicaSet, a Deployment) owns: by controller reference, and by its selector for orphans.
//
// In: the owner, its selector and candidate objects. Out: what it owns, what it should adopt, what it should release, and the patches for that.
// It never takes an object that has another controller, and never deletes.
package claim

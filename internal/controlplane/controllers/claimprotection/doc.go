// Package claimprotection keeps a PersistentVolumeClaim that is being deleted until no Pod uses it: the controller of the finalizer
// kubernetes.io/pvc-protection, which admission puts on every claim.
//
// In: claims that are being deleted, and the Pods of their namespace. Out: claims without the finalizer. It never deletes a claim, and never looks at volumes.
package claimprotection

// Package garbagecollector deletes objects whose owners are gone, and carries out the two ways of deleting that involve dependents.
//
// In: the metadata of every object, from the inventory. Out: objects deleted, owner references and the finalizers "foregroundDeletion" and "orphan" removed.
// It never deletes an object while one of its owners exists and is not itself waiting for its dependents to go.
//
// What the cache says an owner's absence to be is not believed: before anything is deleted the API server is asked for the object and for each owner.
// The rules are those of the API's own documentation of metav1.OwnerReference and DeletionPropagation.
package garbagecollector

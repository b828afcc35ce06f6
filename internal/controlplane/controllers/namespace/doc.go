// Package namespace empties Namespaces that are being deleted, and then lets them go.
//
// In: Namespaces from the informer, the inventory of all objects, discovery and lists through the metadata client. Out: everything in a terminating
// Namespace deleted, Pods before all else; the Namespace's conditions while something remains; the finalizer "kubernetes" removed at the end.
// It never removes a finalizer of an object in the Namespace: whoever put it there has work to do.
//
// A pass asks the API server itself, not a cache: an object that a cache does not show yet would be left behind for ever. Between passes it waits
// for the deletions it asked for, by their events.
package namespace

// Package gitops keeps the cluster as Git says: it is the reconciler of Applications.
//
// In: Applications, pushes told by webhooks, the repositories themselves, and what watches say of the objects that came from Git.
// Out: those objects, created, updated, pruned, set back or rolled back; and each Application's status, history and Events.
//
// One pass over an Application observes (what the ref is now, what was applied, what the watches saw), decides with pure functions
// (decide.go, status.go, and packages diff and health), and acts through package apply. A pass may be cut off anywhere: what it was doing is
// found again from the Application's status, the labels on the objects, and Git. What the Engine keeps in memory only saves asking again.
//
// Nothing between a push and its objects being applied sleeps or polls. A commit is applied whole or not at all; while a commit is refused, the
// last good one is still what the cluster is compared with and set back to.
//
// It speaks to the cluster only through the Kubernetes API, and it never deletes an object that it did not create.
package gitops

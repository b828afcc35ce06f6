// Package job runs Pods until so many of them have succeeded: the controller of Jobs.
//
// In: Jobs, the Pods they own, the writes that the cache does not show yet, and the time. Out: Pods created and deleted, the finalizer that
// keeps a Pod until it has been counted taken off, the Job's status, and Events.
//
// Nothing is counted twice or lost. A finished Pod is first named in the status, then loses its finalizer, and is added to the counts only
// when the cache shows it without; each status is written on top of the version it was worked out from, and no decision is made on a Job
// older than the last status written.
//
// It never touches a Job that another controller manages (spec.managedBy), starts nothing for a finished one, and keeps nothing in memory
// that a restart would miss: the back-off is worked out from the Pods that are still there.
package job

// Package reconcile is the one work-queue loop of the project.
//
// In: keys of API objects, enqueued by whoever saw an event that may matter.
// Out: calls of one Func per key, never two at once for the same key, repeated with exponential back-off while it fails.
//
// It never looks at objects, never decides, and keeps nothing that matters after a crash: a Func reads what is, decides, and acts.
package reconcile

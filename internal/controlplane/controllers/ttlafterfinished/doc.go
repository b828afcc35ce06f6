// Package ttlafterfinished deletes Jobs that have been finished for as long as their spec.ttlSecondsAfterFinished says.
//
// In: Jobs from the informer, and the time. Out: deletions in the foreground, so that a Job goes after its Pods.
// It never deletes a Job that is not finished, and none that has changed since it was looked at.
package ttlafterfinished

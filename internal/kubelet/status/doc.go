// Package status tells the API how Pods are.
//
// In: statuses, each replacing the one before for its Pod. Out: patches of the status subresource: at most one per Pod under way, always of the newest
// status, sent at once when it says something that somebody waits for and within a tenth of a second otherwise.
//
// A patch holds only what a node reports: it never touches what the scheduler or others wrote into the status. While the API is away
// the newest status is kept and sent when it is back.
package status

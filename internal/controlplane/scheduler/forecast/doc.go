// Package forecast says which Pods of workloads that are not there yet would find a node.
//
// In: the cluster as it is, the Pods that a change would take away, and the Pods that it would bring. Out: for each workload how many of its Pods fit, and why the
// others do not. Load asks the API server to complete a Pod of each workload without creating it, so that what admission adds, and a quota, count.
//
// It uses the scheduler's own filters and scores, places the Pods one after the other, and takes nobody's place away: a Pod that would fit by preempting others is
// said not to fit. It changes nothing.
package forecast

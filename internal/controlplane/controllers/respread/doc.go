// Package respread spreads workloads again once a node has come or returned.
//
// In: Pods with the annotation gitopsd.io/spread-again, nodes, what else the scheduler looks at, and its configuration. Out: evictions, by the API, so that
// PodDisruptionBudgets are kept; the Pods' owners make new ones, and the scheduler places them. It never deletes a Pod itself and never names a node to anybody.
//
// It cannot fight with the scheduler or go round in circles: a Pod is only moved for a node that came after the Pod was given its place, and only where the
// scheduler's own filters and scores would put it there now. The Pod that takes its place is younger than the node, so that one arrival moves a replica at most
// once, wherever it goes. When a node came is by this process's clock or, after a restart, by the node's condition Ready.
package respread

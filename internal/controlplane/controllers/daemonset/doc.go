// Package daemonset keeps one Pod on every node that fits: the controller of DaemonSets.
//
// In: DaemonSets, their Pods and ControllerRevisions, Nodes, the writes that the caches do not show yet, and the time. Out: Pods created for a node each,
// Pods deleted, the DaemonSet's status, and Events.
//
// It never binds a Pod: a Pod says by its node affinity which node it is for, and the scheduler puts it there, with its ports, volumes and preemption. Which
// nodes fit is asked of the scheduler's own filters. While a Pod just created is not in the cache, nothing is decided; a write of unknown outcome is asked
// after first. Pods bound to a node that is gone are the Pod garbage collector's, which gives the node time to come back.
package daemonset

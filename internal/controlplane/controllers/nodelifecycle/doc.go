// Package nodelifecycle notices nodes that have fallen silent, and moves their Pods.
//
// In: Nodes, their Leases and Pods from the informers, and the time. Out: the condition Ready=Unknown on silent Nodes; the taints that follow from a
// Node's conditions; Pods of a silent Node marked not ready, so that no traffic is sent to them; Pods deleted that do not tolerate a NoExecute taint
// (any longer), a zone's Nodes no faster than Rates allow. It never deletes a Node, and never deletes a Pod without its grace period: whether its containers still run is not known here.
//
// A heartbeat is judged by when this process saw it change, never by the time written in it: clocks of nodes may be wrong. After a restart every
// Node therefore has a whole grace period again.
package nodelifecycle

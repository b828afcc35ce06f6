// Package allocatable works out what of a machine Pods may have.
//
// In: what the machine has, what the command line keeps for the system and for the node's own daemons, and the hard eviction thresholds. Out: what the
// Node offers, and the limits of the control group that all Pods are in, which holds them to it even when they ask for nothing.
//
// It measures nothing and writes nothing.
// https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/
package allocatable

// Package cgroup lays out and reads the control groups of Pods, in cgroup v1 (also hybrid) and v2 hierarchies.
//
// In: a Pod's UID, its requests and limits. Out: one control group per Pod below the node's own, limited and weighted as the Pod's
// containers are together; figures of what Pods and containers use; whether the kernel killed for want of memory.
//
// The containers' own groups are made by runc, below the Pod's. This package never moves processes, and never touches anything outside its root.
package cgroup

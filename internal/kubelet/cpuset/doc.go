// Package cpuset gives whole processors to containers that asked for them: the static policy of the kubelet's CPU manager.
//
// In: the machine's processors, those that are kept for the system, and Pods. Out: for each container the processors that it may run on: its own, where its
// Pod is Guaranteed and it asks for a whole number of them, or else those that nobody has for himself.
//
// What was given is kept in a file, so that the next process gives it to nobody else. This package moves no process and knows no control group.
// https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/
package cpuset

// Package eviction decides which Pods a node ends because it runs short of memory, disk, inodes or process numbers, or because they use more local
// disk than they may.
//
// In: thresholds from the command line, what the machine has left, what each Pod uses, and what earlier decisions remember. Out: the pressures that the
// Node reports and turns Pods away for, whether unused images are to be removed first, and the Pod to be ended, with the words that users are told.
//
// The rules are those of https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/. Nothing here reads a clock, measures, or ends
// anything.
package eviction

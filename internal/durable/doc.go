// Package durable replaces and removes files so that a crash, of the program or of the machine, leaves the old content or the new: for what a node cannot find out again.
//
// In: a path and a content. Out: the file. It waits for the disk, so what is written often and can be worked out again is none of its business.
package durable

// Package mounts reads what is mounted on the host, and has folders of the node share, or let go of, what is mounted below them.
//
// In: a path. Out: whether something is mounted there, that it is shared, or that nothing is mounted below it any more.
package mounts

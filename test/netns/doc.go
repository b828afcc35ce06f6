// Package netns makes network namespaces and runs code and programs inside them, so that one machine can play several hosts.
//
// In: the path of a namespace and what is to happen there. Out: that, with the calling goroutine back where it was.
//
// It never changes anything in the namespace that the process was started in, and never mounts a new /sys as "ip netns exec" does: a
// program started from here sees the machine's cgroups.
package netns

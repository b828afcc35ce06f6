// Package leftovers lists what a node has on its host, so that a test sees what Pods leave there.
//
// In: where a node keeps its things. Out: a name for each process, mount, control group, interface, rule, file, and each container, file system and lease in containerd.
package leftovers

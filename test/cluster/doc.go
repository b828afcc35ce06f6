// Package cluster runs a whole cluster on one machine, with real parts, each host a network namespace of its own.
//
// In: how many workers, which programs and images, and a folder to keep everything in. Out: a control plane, workers with a containerd
// each, and a Git server that announces pushes; and the means to hurt them: kill a process, start it again, unplug a host.
//
//	outer namespace 10.89.0.1: Git server, users' kubectl, registry mirror     no way out of here
//	     │ bridge
//	     ├── control plane 10.89.0.2
//	     ├── worker w1     10.89.0.11
//	     └── worker w2     10.89.0.12
//
// Everything is recorded in the folder, and under /run/gitopsd-clusters, before it is made; so it can be removed without a trace also
// after a process was killed half-way. It never touches interfaces, routes or rules of the machine's own network, and kills only
// processes that it recorded with their start times or that run inside its own namespaces and cgroups.
package cluster

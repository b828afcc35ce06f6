// Command bench prints the figures that docs/benchmarks.md speaks of: what a push, a Pod, a start and a call of the API take on this machine, and what memory is
// used. `bench api` takes only those of the API; start, drift, repo, memory, push, pods, scale, apps and dns are the others.
//
// In: the programs in bin/. Out: a table of medians and 99th percentiles on standard output. Everything runs on a cluster of network namespaces that it
// makes and removes. It judges nothing: a slow machine gives large figures, not a failure.
package main

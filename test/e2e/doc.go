// Package e2e tests the whole: a cluster of network namespaces with the real programs, driven by git push, seen by users through NodePorts,
// and hurt in every way that the parts have to survive.
//
// It holds no code beside the tests. They share one cluster and run one after another; each begins with the first release running.
package e2e

// Package loadbalancer gives Services of type LoadBalancer their addresses where no cloud does.
//
// In: Services, Nodes, EndpointSlices, and the address pools of the command line. Out: status.loadBalancer of the Services that are left to gitopsd (those without a
// spec.loadBalancerClass, unless a cloud's controller looks after them, and those of the classes gitopsd.io/nodes and gitopsd.io/pool); an Event when addresses were given, and one for each
// thing that keeps a Service from having one.
//
// The addresses are the nodes' own, each for the Services whose ports are free on it, or out of a pool, one for each Service. That they are answered is the work of internal/proxy on the nodes; that a
// pool's addresses lead to the nodes is that of the network around them. Two control planes decide alike: what was given is read from the statuses, nothing is kept.
package loadbalancer

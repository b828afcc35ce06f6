// Package rules says what each port of each Service promises on one node: which addresses clients knock at, and which endpoints answer.
//
// In: a Service, its EndpointSlices, the node's name and an address family. Out: one Balancer per port of the Service.
//
// It knows no iptables and no API client, keeps nothing, and never fails: what cannot be served, such as an address that does not
// parse, is left out, as the API server's validation has refused it anyway.
package rules

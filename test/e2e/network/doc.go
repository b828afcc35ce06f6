// Package network tests the cluster's network from beginning to end, on a cluster of its own with addresses of both families: IPv4 packets between its nodes are routed, IPv6
// packets take the tunnel, since the nodes themselves have IPv4 addresses only.
//
// It holds no code beside the tests.
package network

// Package proxy makes the node's kernel carry out what Services promise.
//
// In: Services and EndpointSlices, from the process's one informer factory. Out: iptables rules. Package rules decides, without
// iptables, who answers for which address; this package writes that as chains, sends the kernel those that changed, as soon as they
// change, and removes connection-tracking entries of UDP clients that would go on to an endpoint which is gone.
//
// How the chains hang together, in table nat (filter holds only what is refused, in the same two trees):
//
//	PREROUTING, OUTPUT → SERVICES → ADDRESSES → <a /20> → <a /24> → S-<port>   the endpoints of a Service port, at even odds
//	                                                              → X-<port>   the same, for clients from outside
//	                              → NODEPORTS → <64 ports> → X-<port>
//	                                                         X-<port> → S-<port>, or L-<port> with only this node's endpoints
//	POSTROUTING → MASQUERADE                                  what has to come back through this node
//
// The trees keep two things small: the rules a new connection passes (a few dozen at thousands of Services, not all of them), and what
// has to be sent for one more Service (one leaf and the Service's own chains).
//
// It never writes to the API server, never touches a chain that does not start with GITOPSD-P-, and keeps nothing on disk: after a
// restart it reads what the kernel has and goes on from there, so established and new connections do not notice.
package proxy

// Package netpolicy makes the node's kernel carry out NetworkPolicies.
//
// In: NetworkPolicies; the node's own Pods with the addresses that the Pod network gave them; the Pods of those namespaces, and only
// those, that policies of own Pods name as peers. Out: iptables rules and sets of addresses. Package rules decides, without the kernel,
// who may connect to whom.
//
// How a new connection goes, in table mangle, where no rule of others in the table filter can accept it first, and where its destination
// is the Pod already, not the Service:
//
//	FORWARD → FORWARD → (source in set E-<guard>) → E-<guard>   what these Pods may open, else dropped
//	                  → INGRESS → (destination in set I-<guard>) → I-<guard>   what may be opened to these Pods, else dropped
//	INPUT   → INPUT   → (to the cluster's DNS) → FORWARD        DNS is answered on the node, and yet is no part of it
//
// Pods with the same rules share a guard, so one more replica is one more element of a set, and so is one more peer: neither runs a
// program. What the node itself sends to its Pods is in none of these chains and always passes, as probes must; so does what Pods send to
// the node, and what belongs to a connection that was allowed.
//
// Admit returns once the kernel has the rules of a Pod, which has no interface before that. A node that starts goes on from what it knew
// before, until the API has told everything anew; one that never knew the policies admits nobody.
//
// It never writes to the API server, and touches no chain or set that does not start with GITOPSD-G. On disk it keeps one file, of what
// it knew last.
package netpolicy

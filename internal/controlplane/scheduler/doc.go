// Package scheduler binds Pods to nodes.
//
// In: Pods, Nodes, Namespaces, disruption budgets and volumes from the informers, and the profiles of its configuration. Out: Bindings; on Pods that fit
// nowhere the condition PodScheduled=False with the reason in words, and the node where room is being made for them; the deletion, with notice, of Pods of
// lower priority that make it; what volumes need to be bound; Events. It deletes no Pod for any other reason, moves none, and leaves Pods alone
// whose schedulerName has no profile.
//
// The parts: snapshot (what is known), plugins (the questions about a Pod and a node), core (the choice, pure), queue (who is next, pure), profile (which
// plugins), and here the thin loop around them. One lock guards snapshot and queue; an event and a decision each hold it for microseconds, so a Pod
// is never turned away on the basis of something that has just changed, and then parked as if nothing had. API calls are made outside of it, many at a time.
package scheduler

// Package scheduler binds Pods to nodes.
//
// In: Pods and Nodes from the informers. Out: Bindings; the condition PodScheduled=False with the reason in words on Pods that fit nowhere; Events
// Scheduled and FailedScheduling. It never moves or deletes a Pod that is bound.
//
// The parts: snapshot (what is known), plugins (the questions about a Pod and a node), core (the choice, pure), queue (who is next, pure), and here
// the thin loop around them. One lock guards snapshot and queue; an event and a decision each hold it for microseconds, so a Pod is never turned
// away on the basis of something that has just changed, and then parked as if nothing had. API calls are made outside of it, many at a time.
package scheduler

// Package pod brings the Pods of this node to what the API wants of them.
//
// In: Pods as the API (or, without it, the checkpoint on disk) has them, ends of containers, results of probes. Out: steps set up and torn down, containers created,
// started, stopped and removed, statuses and events.
//
// Each Pod has a worker: one goroutine that owns all that is known of the Pod, asks package lifecycle what to do, has it done in the background, and
// takes in what came of it as the next thing it knows. The worker decides nothing itself. What must survive this process is in containerd's
// labels and in the Pod's directory:
//
//	pod.pb       the Pod as last seen (a protobuf of the API)
//	record.json  how its last attempts ended, and whether it has been torn down
//	sandbox      the ID of its namespaces
//
// so a worker that starts finds out where its Pod stands before it acts, whatever happened to the one before.
//
// A static Pod's worker is as any other's, but it writes the status to the Pod's mirror (static.go).
//
// A Pod that is new to the node and asks for a host port that another holds is turned away: it fails at once, and nothing is set up for it. So is any new Pod
// while the node shuts down.
package pod

// Package dns answers the questions of this node's Pods and processes: the names of the cluster, and by asking others all other names.
//
// In: Services and EndpointSlices from the process's one informer factory, the host's resolv.conf, and a ConfigMap that names further servers.
// Out: answers at the address of the Service kube-system/kube-dns, which every node holds itself; so a question never leaves its node, needs
// no translation, and is answered while the control plane, or any other node, is away.
//
// How a question is answered:
//
//	UDP or TCP ─▶ query   taken apart without copying          malformed: FORMERR, or nothing
//	               zone    names of the cluster                 packed when a Service changes, not when somebody asks
//	               cache   what other servers said              for as long as they said, and bounded
//	               forward the host's servers, or those of a domain: one after the other, those that do not answer last
//
// The first three are one pass without a lock that others hold for long, without memory being asked for, and without anything to wait for. Only
// what has to be asked from others waits, at most 1,000 questions at a time.
//
// What the zone holds is decided in package records, what the ConfigMap means in package corefile. The records are kept on disk: a node that
// starts while the control plane is away goes on with what it knew. It listens only on the loopback interface and on the Pods' bridge, so nobody
// else can be sent its answers, and never writes to the API server.
package dns

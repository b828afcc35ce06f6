// Package hollow is a node without containers: everything that the node daemon says to the API server, said by the daemon's own code, while containers are
// pretended. A machine that carries two real nodes carries a thousand of them, so that the control plane can be measured at its intended size.
//
// In: the address of a control plane and a join token. Out: the API traffic of a node: joining by CSRs, the Node and its status, its Lease, the watches, and for
// each Pod the references it reads, its token, events and status as internal/kubelet/lifecycle decides them.
//
// Of Services, EndpointSlices and other Nodes a node only reads what it is sent: that is received and dropped here. No address of a hollow node or Pod is ever used.
package hollow

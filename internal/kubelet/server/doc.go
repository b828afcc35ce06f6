// Package server answers the API server's requests for streams and figures of this node, on the kubelet's own paths.
//
// In: HTTPS requests whose client certificate the cluster's CA signed for system:masters, which is how the API server shows itself to nodes.
// Out: container logs, executed commands, attachments, forwarded ports (SPDY and WebSocket), Pods, figures.
//
// It changes nothing, and it never decides who may ask for what: the API server has done so before it asks.
package server

// Package server answers the API server's requests for streams and figures of this node, on the kubelet's own paths.
//
// In: HTTPS requests of the API server, which shows itself by a client certificate of system:masters, and of whoever else its roles let ask nodes
// directly, as scrapers do with their ServiceAccount's token.
// Out: container logs, executed commands, attachments, forwarded ports (SPDY and WebSocket), Pods, configuration, figures (/stats/summary, and /metrics,
// /metrics/cadvisor, /metrics/resource, /metrics/probes for Prometheus).
//
// It changes nothing, serves no file of the host, and decides nobody's rights by itself: it asks the API server (access.go).
package server

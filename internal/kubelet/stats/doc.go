// Package stats measures what the node, its Pods and their containers use.
//
// In: the Pods, their control groups and network namespaces, the machine's own figures. Out: the kubelet's /stats/summary, and as
// Prometheus collectors the figures of /metrics/resource, which the metrics server reads, and of /metrics/cadvisor, which dashboards read.
//
// Figures are read when they are asked for; only the last reading of processor times is kept, to tell how much is used at present.
package stats

// Package stats measures what the node, its Pods and their containers use.
//
// In: the Pods, their control groups and network namespaces, the machine's own figures. Out: the kubelet's /stats/summary, and the figures of
// /metrics/resource in the text form that Prometheus and the metrics server read.
//
// Figures are read when they are asked for; only the last reading of processor times is kept, to tell how much is used at present.
package stats

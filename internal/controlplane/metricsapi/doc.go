// Package metricsapi serves metrics.k8s.io: what nodes and Pods use at present, for `kubectl top`, dashboards and autoscalers.
//
// In: the nodes and Pods that there are, and the figures that nodes report. Out: NodeMetrics and PodMetrics, read-only.
//
// It stores nothing and asks nobody until somebody asks it; figures are kept for some seconds, so that any number of readers cost a node one request.
package metricsapi

// Package horizontalpodautoscaler sizes workloads by what is measured of them: the controller of HorizontalPodAutoscalers.
//
// In: autoscalers, the scale of what they point at, its Pods, readings of the metrics they name, what was recommended and done lately, and the time.
// Out: a new scale, the autoscaler's status, and Events.
//
// It knows no kind: whatever has a scale subresource can be sized. It never goes below the lowest or above the highest number asked for, and with readings
// missing it never goes down. What it remembers (recommendations and changes of the last minutes) only slows it: after a restart the present size counts as
// the first recommendation.
package horizontalpodautoscaler

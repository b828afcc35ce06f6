package horizontalpodautoscaler

import (
	"errors"
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// Sample is what one Pod was measured at, in thousandths.
type Sample struct {
	Value int64
	// At is the end of the time measured, Window its length.
	At     time.Time
	Window time.Duration
}

// Reading is what is known about one metric of an autoscaler: Samples by Pod, or a Value in thousandths where the metric is not one of Pods.
type Reading struct {
	Samples map[string]Sample
	Value   int64
	Err     error
}

// total adds up, and stops at the largest number: a sum that wrapped around would scale a workload down under the highest load.
func total(values []int64) int64 {
	sum := int64(0)
	for _, v := range values {
		if v > 0 && sum > math.MaxInt64-v {
			return math.MaxInt64
		}
		sum += v
	}
	return sum
}

// The errors about metrics that validation lets nobody write.
var (
	errNoResourceTarget = errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	errNoObjectTarget   = errors.New("invalid object metric source: neither a value target nor an average value target was set")
	errNoExternalTarget = errors.New("invalid external metric source: neither a value target nor an average value target was set")
)

// failedGet is the reason of the condition and the Event about a metric that cannot be had.
func failedGet(t autoscalingv2.MetricSourceType) string {
	switch t {
	case autoscalingv2.ObjectMetricSourceType:
		return "FailedGetObjectMetric"
	case autoscalingv2.PodsMetricSourceType:
		return "FailedGetPodsMetric"
	case autoscalingv2.ResourceMetricSourceType:
		return "FailedGetResourceMetric"
	case autoscalingv2.ContainerResourceMetricSourceType:
		return "FailedGetContainerResourceMetric"
	case autoscalingv2.ExternalMetricSourceType:
		return "FailedGetExternalMetric"
	}
	return "InvalidMetricSourceType"
}

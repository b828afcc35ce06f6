package columns

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HorizontalPodAutoscaler shows what is measured, against what it should be.
var HorizontalPodAutoscaler = Table[*autoscalingv2.HorizontalPodAutoscaler]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Reference", "What is scaled"),
		text("Targets", "What is measured, and what it should be"),
		text("MinPods", "Fewest replicas"),
		text("MaxPods", "Most replicas"),
		text("Replicas", "Replicas that there are"),
		age(),
	},
	Row: func(h *autoscalingv2.HorizontalPodAutoscaler) []any {
		least := unset
		if h.Spec.MinReplicas != nil {
			least = fmt.Sprint(*h.Spec.MinReplicas)
		}
		return []any{
			h.Name, h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name, scalingTargets(h.Spec.Metrics, h.Status.CurrentMetrics),
			least, int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), ageOf(h.CreationTimestamp),
		}
	},
}

// maxMetrics keeps a row readable.
const maxMetrics = 2

func scalingTargets(specs []autoscalingv2.MetricSpec, current []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return none
	}
	var list []string
	for i := range specs {
		var now autoscalingv2.MetricStatus
		if i < len(current) && current[i].Type == specs[i].Type {
			now = current[i]
		}
		list = append(list, scalingTarget(&specs[i], &now))
	}
	if extra := len(list) - maxMetrics; extra > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:maxMetrics], ", "), extra)
	}
	return strings.Join(list, ", ")
}

// scalingTarget shows a metric as its name, what it is and what it should be.
func scalingTarget(m *autoscalingv2.MetricSpec, now *autoscalingv2.MetricStatus) string {
	var label string
	var want autoscalingv2.MetricTarget
	var have autoscalingv2.MetricValueStatus
	switch {
	case m.Resource != nil:
		label, want = string(m.Resource.Name)+": ", m.Resource.Target
		if now.Resource != nil {
			have = now.Resource.Current
		}
	case m.ContainerResource != nil:
		label, want = string(m.ContainerResource.Name)+": ", m.ContainerResource.Target
		if now.ContainerResource != nil {
			have = now.ContainerResource.Current
		}
	case m.Pods != nil:
		want = m.Pods.Target
		if now.Pods != nil {
			have = now.Pods.Current
		}
	case m.Object != nil:
		want = m.Object.Target
		if now.Object != nil {
			have = now.Object.Current
		}
	case m.External != nil:
		want = m.External.Target
		if now.External != nil {
			have = now.External.Current
		}
	default:
		return unknown
	}
	switch {
	case want.AverageUtilization != nil:
		shown := unknown
		if have.AverageUtilization != nil {
			shown = fmt.Sprintf("%d%%", *have.AverageUtilization)
		}
		return fmt.Sprintf("%s%s/%d%%", label, shown, *want.AverageUtilization)
	case want.AverageValue != nil:
		return fmt.Sprintf("%s%s/%s (avg)", label, measured(have.AverageValue), want.AverageValue.String())
	case want.Value != nil:
		return fmt.Sprintf("%s%s/%s", label, measured(have.Value), want.Value.String())
	}
	return label + unknown
}

func measured(q *resource.Quantity) string {
	if q == nil {
		return unknown
	}
	return q.String()
}

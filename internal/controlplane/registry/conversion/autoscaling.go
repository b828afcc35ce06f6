package conversion

import (
	"encoding/json"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// The annotations in which a v1 HorizontalPodAutoscaler carries what v1 has no fields for.
const (
	metricsAnnotation        = "autoscaling.alpha.kubernetes.io/metrics"
	currentMetricsAnnotation = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsAnnotation     = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorAnnotation       = "autoscaling.alpha.kubernetes.io/behavior"
)

// defaultUtilization is what v1 means by saying nothing: 80% of the requested CPU.
const defaultUtilization = 80

// AutoscalerV1 turns a v2 HorizontalPodAutoscaler into the v1 form. The target for CPU has a field there; the rest goes into annotations.
func AutoscalerV1(in *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv1.HorizontalPodAutoscaler {
	in = in.DeepCopy()
	out := &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: in.ObjectMeta,
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(in.Spec.ScaleTargetRef), MinReplicas: in.Spec.MinReplicas, MaxReplicas: in.Spec.MaxReplicas,
		},
		Status: autoscalingv1.HorizontalPodAutoscalerStatus{
			ObservedGeneration: in.Status.ObservedGeneration, LastScaleTime: in.Status.LastScaleTime,
			CurrentReplicas: in.Status.CurrentReplicas, DesiredReplicas: in.Status.DesiredReplicas,
		},
	}
	dropAnnotations(out.Annotations)
	var others []autoscalingv1.MetricSpec
	for i := range in.Spec.Metrics {
		m := &in.Spec.Metrics[i]
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Target.AverageUtilization != nil {
			out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
			continue
		}
		others = append(others, metricV1(m))
	}
	var current []autoscalingv1.MetricStatus
	for i := range in.Status.CurrentMetrics {
		m := &in.Status.CurrentMetrics[i]
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
		// The raw value beside the percentage has no field, so the annotation holds this one too.
		current = append(current, metricStatusV1(m))
	}
	annotate(out, metricsAnnotation, others, len(others) > 0)
	annotate(out, currentMetricsAnnotation, current, len(current) > 0)
	annotate(out, behaviorAnnotation, in.Spec.Behavior, in.Spec.Behavior != nil)
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	for _, c := range in.Status.Conditions {
		conditions = append(conditions, conditionV1(c))
	}
	annotate(out, conditionsAnnotation, conditions, len(conditions) > 0)
	return out
}

func conditionV1(c autoscalingv2.HorizontalPodAutoscalerCondition) autoscalingv1.HorizontalPodAutoscalerCondition {
	return autoscalingv1.HorizontalPodAutoscalerCondition{
		Type: autoscalingv1.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
	}
}

func dropAnnotations(annotations map[string]string) {
	for _, key := range []string{metricsAnnotation, currentMetricsAnnotation, conditionsAnnotation, behaviorAnnotation} {
		delete(annotations, key)
	}
}

func annotate(obj *autoscalingv1.HorizontalPodAutoscaler, key string, value any, has bool) {
	if !has {
		return
	}
	text, err := json.Marshal(value)
	if err != nil {
		return // types of the API always encode
	}
	if obj.Annotations == nil {
		obj.Annotations = map[string]string{}
	}
	obj.Annotations[key] = string(text)
}

// Autoscaler turns a v1 HorizontalPodAutoscaler into the v2 form, which is what is stored. An annotation that does not parse says nothing.
func Autoscaler(in *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	in = in.DeepCopy()
	out := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: in.ObjectMeta,
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(in.Spec.ScaleTargetRef), MinReplicas: in.Spec.MinReplicas, MaxReplicas: in.Spec.MaxReplicas,
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			ObservedGeneration: in.Status.ObservedGeneration, LastScaleTime: in.Status.LastScaleTime,
			CurrentReplicas: in.Status.CurrentReplicas, DesiredReplicas: in.Status.DesiredReplicas,
		},
	}
	for _, m := range parsed[[]autoscalingv1.MetricSpec](in, metricsAnnotation) {
		out.Spec.Metrics = append(out.Spec.Metrics, metric(&m))
	}
	cpu := in.Spec.TargetCPUUtilizationPercentage
	if cpu == nil && len(out.Spec.Metrics) == 0 {
		cpu = new(int32)
		*cpu = defaultUtilization
	}
	if cpu != nil {
		out.Spec.Metrics = append(out.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{
				Type: autoscalingv2.UtilizationMetricType, AverageUtilization: cpu,
			}},
		})
	}
	if b := parsed[autoscalingv2.HorizontalPodAutoscalerBehavior](in, behaviorAnnotation); b != (autoscalingv2.HorizontalPodAutoscalerBehavior{}) {
		out.Spec.Behavior = &b
	}
	if now := in.Status.CurrentCPUUtilizationPercentage; now != nil {
		out.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{
			Type:     autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricStatus{Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: now}},
		}}
	}
	if current := parsed[[]autoscalingv1.MetricStatus](in, currentMetricsAnnotation); len(current) > 0 {
		out.Status.CurrentMetrics = nil // the annotation tells more
		for _, m := range current {
			out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, metricStatus(&m))
		}
	}
	for _, c := range parsed[[]autoscalingv1.HorizontalPodAutoscalerCondition](in, conditionsAnnotation) {
		out.Status.Conditions = append(out.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
			Type: autoscalingv2.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	dropAnnotations(out.Annotations)
	return out
}

func parsed[T any](in *autoscalingv1.HorizontalPodAutoscaler, key string) T {
	var value, none T
	if json.Unmarshal([]byte(in.Annotations[key]), &value) != nil {
		return none
	}
	return value
}

func registerAutoscaling(s *runtime.Scheme) error {
	for _, err := range []error{
		s.AddConversionFunc((*autoscalingv1.HorizontalPodAutoscaler)(nil), (*autoscalingv2.HorizontalPodAutoscaler)(nil), func(in, out any, _ conversion.Scope) error {
			*out.(*autoscalingv2.HorizontalPodAutoscaler) = *Autoscaler(in.(*autoscalingv1.HorizontalPodAutoscaler))
			return nil
		}),
		s.AddConversionFunc((*autoscalingv2.HorizontalPodAutoscaler)(nil), (*autoscalingv1.HorizontalPodAutoscaler)(nil), func(in, out any, _ conversion.Scope) error {
			*out.(*autoscalingv1.HorizontalPodAutoscaler) = *AutoscalerV1(in.(*autoscalingv2.HorizontalPodAutoscaler))
			return nil
		}),
		s.AddConversionFunc((*autoscalingv1.HorizontalPodAutoscalerList)(nil), (*autoscalingv2.HorizontalPodAutoscalerList)(nil), func(in, out any, _ conversion.Scope) error {
			from, to := in.(*autoscalingv1.HorizontalPodAutoscalerList), out.(*autoscalingv2.HorizontalPodAutoscalerList)
			to.ListMeta, to.Items = from.ListMeta, each(from.Items, Autoscaler)
			return nil
		}),
		s.AddConversionFunc((*autoscalingv2.HorizontalPodAutoscalerList)(nil), (*autoscalingv1.HorizontalPodAutoscalerList)(nil), func(in, out any, _ conversion.Scope) error {
			from, to := in.(*autoscalingv2.HorizontalPodAutoscalerList), out.(*autoscalingv1.HorizontalPodAutoscalerList)
			to.ListMeta, to.Items = from.ListMeta, each(from.Items, AutoscalerV1)
			return nil
		}),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

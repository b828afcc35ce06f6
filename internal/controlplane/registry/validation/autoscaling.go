package validation

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits that the autoscaling API documents.
const (
	maxScalingPeriod = 1800
	maxStabilization = 3600
)

// HorizontalPodAutoscaler says what may be created.
func HorizontalPodAutoscaler(obj *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	spec := &obj.Spec
	if spec.MinReplicas != nil && *spec.MinReplicas < 0 {
		errs = append(errs, field.Invalid(specPath.Child("minReplicas"), *spec.MinReplicas, "must be greater than or equal to 0"))
	}
	if spec.MaxReplicas < 1 {
		errs = append(errs, field.Invalid(specPath.Child("maxReplicas"), spec.MaxReplicas, "must be greater than 0"))
	}
	if spec.MinReplicas != nil && spec.MaxReplicas < *spec.MinReplicas {
		errs = append(errs, field.Invalid(specPath.Child("maxReplicas"), spec.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, scaleTarget(specPath.Child("scaleTargetRef"), &spec.ScaleTargetRef)...)
	for i := range spec.Metrics {
		errs = append(errs, metricSpec(specPath.Child("metrics").Index(i), &spec.Metrics[i])...)
	}
	if spec.MinReplicas != nil && *spec.MinReplicas == 0 && !slices.ContainsFunc(spec.Metrics, measuredWithoutPods) {
		errs = append(errs, field.Forbidden(specPath.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	if b := spec.Behavior; b != nil {
		errs = append(errs, scalingRules(specPath.Child("behavior", "scaleUp"), b.ScaleUp)...)
		errs = append(errs, scalingRules(specPath.Child("behavior", "scaleDown"), b.ScaleDown)...)
	}
	return errs
}

// HorizontalPodAutoscalerUpdate says what a HorizontalPodAutoscaler may be replaced with.
func HorizontalPodAutoscalerUpdate(obj, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), HorizontalPodAutoscaler(obj)...)
}

// HorizontalPodAutoscalerStatusUpdate says what the autoscaler may report.
func HorizontalPodAutoscalerStatusUpdate(obj, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, nonNegative(statusPath.Child("currentReplicas"), obj.Status.CurrentReplicas)...)
	return append(errs, nonNegative(statusPath.Child("desiredReplicas"), obj.Status.DesiredReplicas)...)
}

func scaleTarget(at *field.Path, ref *autoscalingv2.CrossVersionObjectReference) field.ErrorList {
	errs := requiredSegment(at.Child("kind"), ref.Kind)
	return append(errs, requiredSegment(at.Child("name"), ref.Name)...)
}

// measuredWithoutPods says whether a metric has a value when there are no Pods: without such a one nothing would ever call for the first Pod.
func measuredWithoutPods(m autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
}

// metricSpec wants the one source that the type names, and a target that it can have.
func metricSpec(at *field.Path, m *autoscalingv2.MetricSpec) field.ErrorList {
	errs := requiredOneOf(at.Child("type"), m.Type, autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType,
		autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType)
	type sourceOf struct {
		kind  autoscalingv2.MetricSourceType
		child string
		set   bool
	}
	for _, s := range []sourceOf{
		{autoscalingv2.ObjectMetricSourceType, "object", m.Object != nil}, {autoscalingv2.PodsMetricSourceType, "pods", m.Pods != nil},
		{autoscalingv2.ResourceMetricSourceType, "resource", m.Resource != nil}, {autoscalingv2.ExternalMetricSourceType, "external", m.External != nil},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", m.ContainerResource != nil},
	} {
		switch {
		case s.kind == m.Type && !s.set:
			errs = append(errs, field.Required(at.Child(s.child), "must populate information for the given metric source"))
		case s.kind != m.Type && s.set:
			errs = append(errs, field.Forbidden(at.Child(s.child), "must populate the given metric source only"))
		}
	}
	if o := m.Object; o != nil {
		at := at.Child("object")
		errs = append(errs, scaleTarget(at.Child("describedObject"), &o.DescribedObject)...)
		errs = append(errs, metricIdentifier(at.Child("metric"), &o.Metric)...)
		errs = append(errs, metricTarget(at.Child("target"), &o.Target, "value", "averageValue")...)
	}
	if p := m.Pods; p != nil {
		errs = append(errs, metricIdentifier(at.Child("pods", "metric"), &p.Metric)...)
		errs = append(errs, metricTarget(at.Child("pods", "target"), &p.Target, "averageValue")...)
	}
	if e := m.External; e != nil {
		errs = append(errs, metricIdentifier(at.Child("external", "metric"), &e.Metric)...)
		errs = append(errs, metricTarget(at.Child("external", "target"), &e.Target, "value", "averageValue")...)
	}
	if r := m.Resource; r != nil {
		errs = append(errs, required(at.Child("resource", "name"), string(r.Name))...)
		errs = append(errs, metricTarget(at.Child("resource", "target"), &r.Target, "averageUtilization", "averageValue")...)
	}
	if r := m.ContainerResource; r != nil {
		errs = append(errs, required(at.Child("containerResource", "name"), string(r.Name))...)
		errs = append(errs, required(at.Child("containerResource", "container"), r.Container)...)
		errs = append(errs, metricTarget(at.Child("containerResource", "target"), &r.Target, "averageUtilization", "averageValue")...)
	}
	return errs
}

func metricIdentifier(at *field.Path, id *autoscalingv2.MetricIdentifier) field.ErrorList {
	errs := requiredSegment(at.Child("name"), id.Name)
	return append(errs, metav1validation.ValidateLabelSelector(id.Selector, noOptions, at.Child("selector"))...)
}

// metricTarget wants exactly one of the values that the kind of metric can be compared with.
func metricTarget(at *field.Path, t *autoscalingv2.MetricTarget, either ...string) field.ErrorList {
	errs := requiredOneOf(at.Child("type"), t.Type, autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType)
	set := map[string]bool{"value": t.Value != nil, "averageValue": t.AverageValue != nil, "averageUtilization": t.AverageUtilization != nil}
	list := map[string]*resource.Quantity{"value": t.Value, "averageValue": t.AverageValue}
	for _, child := range sortedKeys(list) {
		q := list[child]
		if q != nil && q.Sign() != 1 {
			errs = append(errs, field.Invalid(at.Child(child), q.String(), "must be positive"))
		}
	}
	if u := t.AverageUtilization; u != nil && *u < 1 {
		errs = append(errs, field.Invalid(at.Child("averageUtilization"), *u, "must be greater than 0"))
	}
	switch len(either) {
	case 1:
		if !set[either[0]] {
			errs = append(errs, field.Required(at.Child(either[0]), "must specify a positive target "+either[0]))
		}
	case 2:
		if !set[either[0]] && !set[either[1]] {
			errs = append(errs, field.Required(at.Child(either[0]), fmt.Sprintf("must set either a target %s or a target %s", either[0], either[1])))
		}
		if set[either[0]] && set[either[1]] {
			errs = append(errs, field.Forbidden(at.Child(either[1]), fmt.Sprintf("may not set both a target %s and a target %s", either[0], either[1])))
		}
	}
	return errs
}

func scalingRules(at *field.Path, r *autoscalingv2.HPAScalingRules) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if n := r.StabilizationWindowSeconds; n != nil && (*n < 0 || *n > maxStabilization) {
		if *n < 0 {
			errs = append(errs, field.Invalid(at.Child("stabilizationWindowSeconds"), *n, "must be greater than or equal to zero"))
		} else {
			errs = append(errs, field.Invalid(at.Child("stabilizationWindowSeconds"), *n, fmt.Sprintf("must be less than or equal to %d", maxStabilization)))
		}
	}
	errs = append(errs, optionalOneOf(at.Child("selectPolicy"), r.SelectPolicy, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect)...)
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(at.Child("policies"), "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		at := at.Child("policies").Index(i)
		errs = append(errs, oneOf(at.Child("type"), p.Type, autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy)...)
		if p.Value <= 0 {
			errs = append(errs, field.Invalid(at.Child("value"), p.Value, "must be greater than zero"))
		}
		switch {
		case p.PeriodSeconds <= 0:
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero"))
		case p.PeriodSeconds > maxScalingPeriod:
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", maxScalingPeriod)))
		}
	}
	if r.Tolerance != nil {
		errs = append(errs, nonNegativeQuantity(at.Child("tolerance"), *r.Tolerance)...)
	}
	return errs
}

package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"math"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// proposal is the size that one metric calls for.
type proposal struct {
	replicas int32
	name     string // of the metric, in words
	status   autoscalingv2.MetricStatus
}

// propose works out the size that a metric calls for.
func (o Observed) propose(spec *autoscalingv2.MetricSpec, r Reading) (proposal, error) {
	p := proposal{status: autoscalingv2.MetricStatus{Type: spec.Type}}
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		s := spec.Resource
		current, err := o.byResource(&p, s.Name, "", s.Target, r)
		p.status.Resource = &autoscalingv2.ResourceMetricStatus{Name: s.Name, Current: current}
		return p, err
	case autoscalingv2.ContainerResourceMetricSourceType:
		s := spec.ContainerResource
		current, err := o.byResource(&p, s.Name, s.Container, s.Target, r)
		p.status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: s.Name, Container: s.Container, Current: current}
		return p, err
	case autoscalingv2.PodsMetricSourceType:
		s := spec.Pods
		p.name = "pods metric " + s.Metric.Name
		current, err := o.byPods(&p, s, r)
		p.status.Pods = &autoscalingv2.PodsMetricStatus{Metric: s.Metric, Current: current}
		return p, err
	case autoscalingv2.ObjectMetricSourceType:
		s := spec.Object
		p.name = fmt.Sprintf("%s metric %s", s.DescribedObject.Kind, s.Metric.Name)
		current, err := o.byValue(&p, s.Target, r, errNoObjectTarget)
		p.status.Object = &autoscalingv2.ObjectMetricStatus{Metric: s.Metric, DescribedObject: s.DescribedObject, Current: current}
		return p, err
	case autoscalingv2.ExternalMetricSourceType:
		s := spec.External
		p.name = fmt.Sprintf("external metric %s(%+v)", s.Metric.Name, s.Metric.Selector)
		current, err := o.byValue(&p, s.Target, r, errNoExternalTarget)
		p.status.External = &autoscalingv2.ExternalMetricStatus{Metric: s.Metric, Current: current}
		return p, err
	}
	return p, fmt.Errorf("unknown metric source type %q", spec.Type)
}

// failedTo says what was being done for a metric when it failed.
func failedTo(spec *autoscalingv2.MetricSpec) string {
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		return fmt.Sprintf("failed to get %s resource metric value", spec.Resource.Name)
	case autoscalingv2.ContainerResourceMetricSourceType:
		return fmt.Sprintf("failed to get %s container metric value", spec.ContainerResource.Container)
	case autoscalingv2.PodsMetricSourceType:
		return "failed to get pods metric value"
	case autoscalingv2.ObjectMetricSourceType:
		return "failed to get object metric value"
	case autoscalingv2.ExternalMetricSourceType:
		return fmt.Sprintf("failed to get %s external metric value", spec.External.Metric.Name)
	}
	return "failed to get the metric"
}

// byResource sizes by CPU or memory, be it an amount per Pod or a share of what is requested.
func (o Observed) byResource(p *proposal, name corev1.ResourceName, container string, target autoscalingv2.MetricTarget, r Reading) (autoscalingv2.MetricValueStatus, error) {
	what := "usage"
	if target.AverageValue == nil {
		what = "utilization"
	}
	fail := func(err error) (autoscalingv2.MetricValueStatus, error) {
		return autoscalingv2.MetricValueStatus{}, fmt.Errorf("failed to get %s %s: %w", name, what, err)
	}
	if r.Err != nil {
		return fail(fmt.Errorf("unable to get metrics for resource %s: %w", name, r.Err))
	}
	if len(o.Pods) == 0 {
		return fail(errNoPods)
	}
	var m measure
	switch {
	case target.AverageValue != nil:
		p.name = fmt.Sprintf("%s resource", name)
		m = againstValue(target.AverageValue.MilliValue())
	case target.AverageUtilization != nil:
		p.name = fmt.Sprintf("%s resource utilization (percentage of request)", name)
		if container != "" {
			p.name = fmt.Sprintf("%s container resource utilization (percentage of request)", name)
		}
		requested, err := requests(o.Pods, name, container)
		if err != nil {
			return fail(err)
		}
		m = againstRequests(*target.AverageUtilization, requested)
	default:
		return autoscalingv2.MetricValueStatus{}, errNoResourceTarget
	}
	n, u, err := size(o.Scale.Spec.Replicas, sortPods(o.Pods, r.Samples, name == corev1.ResourceCPU, o.Now), r.Samples, toleranceOf(o.HPA), m)
	if err != nil {
		return fail(err)
	}
	p.replicas = n
	current := autoscalingv2.MetricValueStatus{AverageValue: quantity(name, u.average)}
	if target.AverageValue == nil {
		current.AverageUtilization = &u.percent
	}
	return current, nil
}

// quantity shows memory in powers of two, as those who measure it do.
func quantity(name corev1.ResourceName, milli int64) *resource.Quantity {
	format := resource.DecimalSI
	if name == corev1.ResourceMemory {
		format = resource.BinarySI
	}
	return resource.NewMilliQuantity(milli, format)
}

var errNoPods = errors.New("no pods returned by selector while calculating replica count")

// byPods sizes by what the Pods themselves report.
func (o Observed) byPods(p *proposal, s *autoscalingv2.PodsMetricSource, r Reading) (autoscalingv2.MetricValueStatus, error) {
	switch {
	case r.Err != nil:
		return autoscalingv2.MetricValueStatus{}, fmt.Errorf("unable to get metric %s: %w", s.Metric.Name, r.Err)
	case len(o.Pods) == 0:
		return autoscalingv2.MetricValueStatus{}, errNoPods
	case s.Target.AverageValue == nil:
		return autoscalingv2.MetricValueStatus{}, errors.New("invalid pods metric source: no average value target was set")
	}
	n, u, err := size(o.Scale.Spec.Replicas, sortPods(o.Pods, r.Samples, false, o.Now), r.Samples, toleranceOf(o.HPA), againstValue(s.Target.AverageValue.MilliValue()))
	p.replicas = n
	return autoscalingv2.MetricValueStatus{AverageValue: resource.NewMilliQuantity(u.average, resource.DecimalSI)}, err
}

// byValue sizes by a value that is not one of Pods: such that it reaches the target, or is the target for each Pod.
func (o Observed) byValue(p *proposal, target autoscalingv2.MetricTarget, r Reading, noTarget error) (autoscalingv2.MetricValueStatus, error) {
	switch {
	case r.Err != nil:
		return autoscalingv2.MetricValueStatus{}, r.Err
	case target.AverageValue != nil:
		p.replicas = o.sizePerPod(r.Value, target.AverageValue.MilliValue())
		average := r.Value
		if n := o.Scale.Status.Replicas; n > 0 && r.Value < math.MaxInt64 {
			average = int64(math.Ceil(float64(r.Value) / float64(n)))
		}
		return autoscalingv2.MetricValueStatus{AverageValue: resource.NewMilliQuantity(average, resource.DecimalSI)}, nil
	case target.Value != nil:
		n, err := o.sizeByRatio(float64(r.Value) / float64(target.Value.MilliValue()))
		p.replicas = n
		return autoscalingv2.MetricValueStatus{Value: resource.NewMilliQuantity(r.Value, resource.DecimalSI)}, err
	}
	return autoscalingv2.MetricValueStatus{}, noTarget
}

// sizePerPod shares a value out.
func (o Observed) sizePerPod(value, target int64) int32 {
	n := o.Scale.Status.Replicas
	if n > 0 && toleranceOf(o.HPA).covers(float64(value)/(float64(target)*float64(n))) {
		return n
	}
	return ceil(float64(value) / float64(target))
}

// sizeByRatio takes what the Pods that serve now bring about as a measure of what more or fewer would. Of no Pods nothing is known: the value itself says how
// many are to begin.
func (o Observed) sizeByRatio(ratio float64) (int32, error) {
	current := o.Scale.Spec.Replicas
	switch {
	case current == 0:
		return ceil(ratio), nil
	case toleranceOf(o.HPA).covers(ratio):
		return current, nil
	case len(o.Pods) == 0:
		return 0, fmt.Errorf("unable to calculate ready pods: %w", errNoPods)
	}
	return ceil(ratio * float64(readyCount(o.Pods))), nil
}

// defaultTolerance is how far the use may be off the target without anything being done about it.
const defaultTolerance = 0.1

// Tolerance is how far a ratio may be off 1.
type Tolerance struct{ Down, Up float64 }

func (t Tolerance) covers(ratio float64) bool { return ratio >= 1-t.Down && ratio <= 1+t.Up }

func toleranceOf(hpa *autoscalingv2.HorizontalPodAutoscaler) Tolerance {
	t := Tolerance{Down: defaultTolerance, Up: defaultTolerance}
	if b := hpa.Spec.Behavior; b != nil {
		if b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
			t.Down = b.ScaleDown.Tolerance.AsApproximateFloat64()
		}
		if b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
			t.Up = b.ScaleUp.Tolerance.AsApproximateFloat64()
		}
	}
	return t
}

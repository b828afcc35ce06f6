package horizontalpodautoscaler

import (
	"fmt"
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Observed is everything a decision rests on.
type Observed struct {
	HPA   *autoscalingv2.HorizontalPodAutoscaler
	Scale *autoscalingv1.Scale
	// Problem is why the Pods cannot be told; with it, no metric is looked at.
	Problem *Problem
	Pods    []*corev1.Pod // that the scale selects
	// Readings are in the order of the autoscaler's metrics.
	Readings []Reading
	History  History
	Now      time.Time
}

// Problem is what is wrong with what an autoscaler points at.
type Problem struct {
	Event, Reason, Message string // Event is the reason of the Event; none without
	Err                    error
}

// Actions is what is to be done now.
type Actions struct {
	// Rescale says that the scale is to be set to Replicas, and Reason why.
	Rescale  bool
	Replicas int32
	Reason   string
	// Status is what is to be reported. What came of the rescaling is added by Rescaled.
	Status  autoscalingv2.HorizontalPodAutoscalerStatus
	Events  []Event
	History History
	// Failure is why some metric could not be used.
	Failure error
}

// Event tells the autoscaler's readers what happened.
type Event struct {
	Type, Reason, Message string
}

// NeedsMetrics says whether the size depends on what is measured: not where it is out of bounds, nor where somebody has switched the workload off.
func NeedsMetrics(hpa *autoscalingv2.HorizontalPodAutoscaler, current int32) bool {
	if current == 0 {
		return scaledToZero(hpa) && (minReplicas(hpa) != 0 || usesOutsideMetrics(hpa))
	}
	return current >= minReplicas(hpa) && current <= hpa.Spec.MaxReplicas
}

// scaledToZero says that this controller, not a person, has switched the workload off.
func scaledToZero(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(hpa.Status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.ScaledToZero && c.Status == corev1.ConditionTrue
	})
}

// usesOutsideMetrics says that something can be measured also without Pods.
func usesOutsideMetrics(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(hpa.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	})
}

// Decide works out the size of one workload.
func Decide(o Observed) Actions {
	current := o.Scale.Spec.Replicas
	a := Actions{Replicas: current, History: o.History.prune(o.Now)}
	if len(a.History.Recommended) == 0 {
		// Nothing is known of before: the present size was somebody's choice, and holds for the first window.
		a.History.Recommended = []Recommendation{{current, o.Now}}
	}
	o.History = a.History
	a.Status = *o.HPA.Status.DeepCopy()
	a.Status.ObservedGeneration = &o.HPA.Generation
	a.Status.CurrentReplicas = current
	a.set(o, autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	switch {
	case NeedsMetrics(o.HPA, current):
		if !a.measure(o) {
			return a
		}
	case current == 0:
		a.Status.CurrentMetrics = nil
		a.set(o, autoscalingv2.ScalingActive, corev1.ConditionFalse, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
	case current > o.HPA.Spec.MaxReplicas:
		a.Status.CurrentMetrics = nil
		a.Replicas, a.Reason = o.HPA.Spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas"
	default:
		a.Status.CurrentMetrics = nil
		a.Replicas, a.Reason = minReplicas(o.HPA), "Current number of replicas below Spec.MinReplicas"
	}
	a.Rescale = a.Replicas != current
	a.Status.DesiredReplicas = a.Replicas
	return a
}

// measure chooses the size by the metrics: the largest that any of them calls for. It says whether there is one.
func (a *Actions) measure(o Observed) bool {
	if p := o.Problem; p != nil {
		if p.Event != "" {
			a.event(corev1.EventTypeWarning, p.Event, p.Err.Error())
		}
		a.Status.CurrentMetrics = nil
		a.set(o, autoscalingv2.ScalingActive, corev1.ConditionFalse, p.Reason, p.Message)
		a.fail(p.Err)
		return false
	}
	current, metrics := o.Scale.Spec.Replicas, o.HPA.Spec.Metrics
	statuses := make([]autoscalingv2.MetricStatus, len(metrics))
	var best proposal
	var first error
	var condition string // the reason of the first failure
	failures := 0
	for i := range metrics {
		p, err := o.propose(&metrics[i], o.Readings[i])
		if err != nil {
			reason := failedGet(metrics[i].Type)
			a.event(corev1.EventTypeWarning, reason, err.Error())
			if failures++; first == nil {
				first, condition = err, reason
				a.Failure = fmt.Errorf("first error is: %s: %w", failedTo(&metrics[i]), err)
			}
			continue
		}
		statuses[i] = p.status
		if best.name == "" || p.replicas > best.replicas {
			best = p
		}
	}
	a.Status.CurrentMetrics = statuses
	if first != nil {
		a.Failure = fmt.Errorf("invalid metrics (%v invalid out of %v), %w", failures, len(metrics), a.Failure)
	}
	// Whoever cannot see everything must not take anything away.
	if failures == len(metrics) || failures > 0 && best.replicas < current {
		a.set(o, autoscalingv2.ScalingActive, corev1.ConditionFalse, condition, fmt.Sprintf("the HPA was unable to compute the replica count: %v", first))
		a.fail(a.Failure)
		return false
	}
	a.set(o, autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+best.name)
	a.choose(o, best)
	return true
}

// choose brings the size that the metrics call for within what the autoscaler allows.
func (a *Actions) choose(o Observed, best proposal) {
	current := o.Scale.Spec.Replicas
	a.History.Recommended = append(a.History.Recommended, Recommendation{best.replicas, o.Now})
	stable := o.stabilise(best.replicas)
	a.set(o, autoscalingv2.AbleToScale, corev1.ConditionTrue, stable.reason, stable.message)
	within := o.limit(stable.replicas)
	status := corev1.ConditionTrue
	if within.replicas == stable.replicas {
		status = corev1.ConditionFalse
	}
	a.set(o, autoscalingv2.ScalingLimited, status, within.reason, within.message)
	a.Replicas = within.replicas
	switch {
	case best.replicas > current:
		a.Reason = best.name + " above target"
	case best.replicas < current:
		a.Reason = "All metrics below target"
	}
	if lowest := minReplicas(o.HPA); current == 0 && a.Replicas < lowest {
		a.Replicas, a.Reason = lowest, "Current number of replicas below Spec.MinReplicas"
	}
}

// fail ends a look that has led to no size. What was desired before still is.
func (a *Actions) fail(err error) {
	a.Failure = err
	a.event(corev1.EventTypeWarning, "FailedComputeMetricsReplicas", err.Error())
}

// Unscalable is the status of an autoscaler whose target's scale cannot be had.
func Unscalable(hpa *autoscalingv2.HorizontalPodAutoscaler, err error, now time.Time) Actions {
	a := Actions{Status: *hpa.Status.DeepCopy(), Failure: err}
	a.event(corev1.EventTypeWarning, "FailedGetScale", err.Error())
	a.set(Observed{Now: now}, autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", err))
	return a
}

// Rescaled adds what came of the rescaling.
func (a *Actions) Rescaled(o Observed, err error) {
	current := o.Scale.Spec.Replicas
	if err != nil {
		a.event(corev1.EventTypeWarning, "FailedRescale", fmt.Sprintf("New size: %d; reason: %s; error: %v", a.Replicas, a.Reason, err))
		a.set(o, autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err))
		a.Status.DesiredReplicas = o.HPA.Status.DesiredReplicas
		return
	}
	a.set(o, autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", a.Replicas))
	a.event(corev1.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", a.Replicas, a.Reason))
	a.History.Changes = append(a.History.Changes, Change{a.Replicas - current, o.Now})
	a.Status.LastScaleTime = &metav1.Time{Time: o.Now}
	if a.Replicas == 0 && minReplicas(o.HPA) == 0 && usesOutsideMetrics(o.HPA) {
		a.set(o, autoscalingv2.ScaledToZero, corev1.ConditionTrue, "ScaledToZero", "the HPA controller scaled the workload to zero")
	} else {
		a.set(o, autoscalingv2.ScaledToZero, corev1.ConditionFalse, "NotScaledToZero", "the HPA controller did not scale the workload to zero")
	}
}

func (a *Actions) event(t, reason, message string) {
	a.Events = append(a.Events, Event{t, reason, message})
}

func (a *Actions) set(o Observed, t autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason, message string) {
	c := autoscalingv2.HorizontalPodAutoscalerCondition{Type: t, Status: status, LastTransitionTime: metav1.NewTime(o.Now), Reason: reason, Message: message}
	for i, old := range a.Status.Conditions {
		if old.Type == t {
			if old.Status == status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			a.Status.Conditions[i] = c
			return
		}
	}
	a.Status.Conditions = append(a.Status.Conditions, c)
}

package deployment

import (
	"math"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// maxSurge is how many Pods above spec.replicas a rolling update may have. A percentage is rounded up (the field's own comment says so).
func maxSurge(d *appsv1.Deployment) int32 {
	if !rolling(d) || ptr.Deref(d.Spec.Replicas, 1) == 0 {
		return 0
	}
	return share(d, rollingUpdate(d).MaxSurge, true)
}

// maxUnavailable is how many of spec.replicas may be unavailable during a rolling update. A percentage is rounded down. Where that and the
// surge both come to nothing no step would be possible, so one Pod may go. (The API server refuses two plain zeros.)
func maxUnavailable(d *appsv1.Deployment) int32 {
	desired := ptr.Deref(d.Spec.Replicas, 1)
	if !rolling(d) || desired == 0 {
		return 0
	}
	n := share(d, rollingUpdate(d).MaxUnavailable, false)
	if n == 0 && maxSurge(d) == 0 {
		n = 1
	}
	return min(n, desired)
}

func rolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

func rollingUpdate(d *appsv1.Deployment) appsv1.RollingUpdateDeployment {
	return ptr.Deref(d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
}

func share(d *appsv1.Deployment, v *intstr.IntOrString, up bool) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), int(ptr.Deref(d.Spec.Replicas, 1)), up)
	if err != nil || n < 0 {
		return 0 // neither a number nor a percentage: the API server refuses it
	}
	return int32(min(n, math.MaxInt32))
}

// hasDeadline says whether progress is watched at all; the largest value stands for "never".
func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

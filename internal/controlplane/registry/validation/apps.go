package validation

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Deployment says what may be created.
func Deployment(obj *appsv1.Deployment) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, deploymentSpec(&obj.Spec)...)
}

func deploymentSpec(spec *appsv1.DeploymentSpec) field.ErrorList {
	errs := optionalNonNegative(specPath.Child("replicas"), spec.Replicas)
	errs = append(errs, workload("deployment", spec.Selector, &spec.Template)...)
	errs = append(errs, deploymentStrategy(specPath.Child("strategy"), &spec.Strategy)...)
	errs = append(errs, nonNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
	errs = append(errs, optionalNonNegative(specPath.Child("revisionHistoryLimit"), spec.RevisionHistoryLimit)...)
	if spec.ProgressDeadlineSeconds != nil {
		at := specPath.Child("progressDeadlineSeconds")
		errs = append(errs, nonNegative(at, *spec.ProgressDeadlineSeconds)...)
		// A Pod counts only after minReadySeconds, so with a shorter deadline no rollout could ever progress.
		if *spec.ProgressDeadlineSeconds <= spec.MinReadySeconds {
			errs = append(errs, field.Invalid(at, *spec.ProgressDeadlineSeconds, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

// templateOwner is how messages about a template name its kind; for a Deployment, the ReplicaSet that it makes.
var templateOwner = map[string]string{"deployment": "ReplicaSet", "daemonset": "DaemonSet", "statefulset": "StatefulSet"}

// workload checks a selector, and the template of the Pods that it selects, of a kind named in one word.
func workload(kind string, selector *metav1.LabelSelector, template *corev1.PodTemplateSpec) field.ErrorList {
	var errs field.ErrorList
	at := specPath.Child("selector")
	if selector == nil {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, at)...)
		if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
			errs = append(errs, field.Invalid(at, selector, "empty selector is invalid for "+kind))
		}
	}
	at = specPath.Child("template")
	if compiled, err := metav1.LabelSelectorAsSelector(selector); err != nil {
		errs = append(errs, field.Invalid(specPath.Child("selector"), selector, "invalid label selector"))
	} else if !compiled.Empty() && !compiled.Matches(labels.Set(template.Labels)) {
		// Its Pods would not count, so it would make more of them without end.
		errs = append(errs, field.Invalid(at.Child("metadata", "labels"), template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, endlessTemplate(at, template, templateOwner[kind])...)
}

func deploymentStrategy(at *field.Path, strategy *appsv1.DeploymentStrategy) field.ErrorList {
	errs := oneOf(at.Child("type"), strategy.Type, appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)
	rolling := at.Child("rollingUpdate")
	switch strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if strategy.RollingUpdate != nil {
			errs = append(errs, field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'"))
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if strategy.RollingUpdate == nil {
			return append(errs, field.Required(rolling, ""))
		}
		unavailable, surge := strategy.RollingUpdate.MaxUnavailable, strategy.RollingUpdate.MaxSurge
		errs = append(errs, share(rolling.Child("maxUnavailable"), unavailable)...)
		errs = append(errs, share(rolling.Child("maxSurge"), surge)...)
		if isZeroShare(unavailable) && isZeroShare(surge) {
			// Neither one more nor one fewer: nothing could move.
			errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
		}
		if unavailable != nil {
			errs = append(errs, atMostAll(rolling.Child("maxUnavailable"), *unavailable)...)
		}
	}
	return errs
}

// share wants a number of Pods, or a percentage of all.
func share(at *field.Path, value *intstr.IntOrString) field.ErrorList {
	switch {
	case value == nil:
		return field.ErrorList{field.Required(at, "")}
	case value.Type == intstr.String:
		return invalid(at, *value, validation.IsValidPercent(value.StrVal))
	case value.Type == intstr.Int:
		return nonNegative(at, value.IntVal)
	}
	return field.ErrorList{field.Invalid(at, *value, "must be an integer or percentage (e.g '5%')")}
}

func isZeroShare(value *intstr.IntOrString) bool {
	if value == nil {
		return true
	}
	if value.Type == intstr.String {
		digits, percent := strings.CutSuffix(value.StrVal, "%")
		return percent && strings.Trim(digits, "0") == ""
	}
	return value.IntVal == 0
}

func atMostAll(at *field.Path, value intstr.IntOrString) field.ErrorList {
	if value.Type != intstr.String || len(validation.IsValidPercent(value.StrVal)) > 0 {
		return nil
	}
	digits := strings.TrimLeft(strings.TrimSuffix(value.StrVal, "%"), "0")
	if len(digits) > 3 || len(digits) == 3 && digits > "100" {
		return field.ErrorList{field.Invalid(at, value, "must not be greater than 100%")}
	}
	return nil
}

// DeploymentUpdate says what a Deployment may be replaced with. Its selector stays: Pods of the old one would be nobody's.
func DeploymentUpdate(obj, old *appsv1.Deployment) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, deploymentSpec(&obj.Spec)...)
	return append(errs, validateImmutable(obj.Spec.Selector, old.Spec.Selector, specPath.Child("selector"))...)
}

// DeploymentStatusUpdate says what the Deployment controller may report.
func DeploymentStatusUpdate(obj, old *appsv1.Deployment) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	s := &obj.Status
	errs = append(errs, nonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)...)
	errs = append(errs, replicaCounts(s.Replicas, []count{
		{"updatedReplicas", s.UpdatedReplicas}, {"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas},
	})...)
	errs = append(errs, nonNegative(statusPath.Child("unavailableReplicas"), s.UnavailableReplicas)...)
	errs = append(errs, optionalNonNegative(statusPath.Child("terminatingReplicas"), s.TerminatingReplicas)...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return append(errs, collisionCount(s.CollisionCount, old.Status.CollisionCount)...)
}

// ReplicaSet says what may be created.
func ReplicaSet(obj *appsv1.ReplicaSet) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, replicaSetSpec(&obj.Spec)...)
}

func replicaSetSpec(spec *appsv1.ReplicaSetSpec) field.ErrorList {
	errs := optionalNonNegative(specPath.Child("replicas"), spec.Replicas)
	errs = append(errs, nonNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
	return append(errs, workload("deployment", spec.Selector, &spec.Template)...)
}

// ReplicaSetUpdate says what a ReplicaSet may be replaced with.
func ReplicaSetUpdate(obj, old *appsv1.ReplicaSet) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, replicaSetSpec(&obj.Spec)...)
	return append(errs, validateImmutable(obj.Spec.Selector, old.Spec.Selector, specPath.Child("selector"))...)
}

// ReplicaSetStatusUpdate says what the ReplicaSet controller may report.
func ReplicaSetStatusUpdate(obj, old *appsv1.ReplicaSet) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	s := &obj.Status
	errs = append(errs, replicaCounts(s.Replicas, []count{
		{"fullyLabeledReplicas", s.FullyLabeledReplicas}, {"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas},
	})...)
	errs = append(errs, optionalNonNegative(statusPath.Child("terminatingReplicas"), s.TerminatingReplicas)...)
	errs = append(errs, nonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}

// count is how many of the replicas are in some state.
type count struct {
	name string
	n    int32
}

// replicaCounts wants no state to have more replicas than there are.
func replicaCounts(all int32, counts []count) field.ErrorList {
	errs := nonNegative(statusPath.Child("replicas"), all)
	for _, c := range counts {
		at := statusPath.Child(c.name)
		errs = append(errs, nonNegative(at, c.n)...)
		if c.n > all {
			errs = append(errs, field.Invalid(at, c.n, "cannot be greater than status.replicas"))
		}
	}
	return errs
}

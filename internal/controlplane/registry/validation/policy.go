package validation

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PodDisruptionBudget says what may be created.
func PodDisruptionBudget(obj *policyv1.PodDisruptionBudget) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	spec := &obj.Spec
	if spec.MinAvailable != nil && spec.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(specPath, spec, "minAvailable and maxUnavailable cannot be both set"))
	}
	if n := spec.MinAvailable; n != nil {
		errs = append(errs, share(specPath.Child("minAvailable"), n)...)
		errs = append(errs, atMostAll(specPath.Child("minAvailable"), *n)...)
	}
	if n := spec.MaxUnavailable; n != nil {
		errs = append(errs, share(specPath.Child("maxUnavailable"), n)...)
		errs = append(errs, atMostAll(specPath.Child("maxUnavailable"), *n)...)
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(spec.Selector, noOptions, specPath.Child("selector"))...)
	return append(errs, optionalOneOf(specPath.Child("unhealthyPodEvictionPolicy"), spec.UnhealthyPodEvictionPolicy, policyv1.IfHealthyBudget, policyv1.AlwaysAllow)...)
}

// PodDisruptionBudgetUpdate says what a PodDisruptionBudget may be replaced with.
func PodDisruptionBudgetUpdate(obj, old *policyv1.PodDisruptionBudget) field.ErrorList {
	return append(PodDisruptionBudget(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
}

// PodDisruptionBudgetStatusUpdate says what the disruption controller, and an eviction, may report.
func PodDisruptionBudgetStatusUpdate(obj, old *policyv1.PodDisruptionBudget) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, metav1validation.ValidateConditions(obj.Status.Conditions, statusPath.Child("conditions"))...)
	for _, c := range []count{
		{"disruptionsAllowed", obj.Status.DisruptionsAllowed}, {"currentHealthy", obj.Status.CurrentHealthy},
		{"desiredHealthy", obj.Status.DesiredHealthy}, {"expectedPods", obj.Status.ExpectedPods},
	} {
		errs = append(errs, nonNegative(statusPath.Child(c.name), c.n)...)
	}
	return errs
}

// The priorities above what users may define, for what a cluster cannot do without.
const (
	systemPrefix        = "system-"
	maxUserPriority     = 1_000_000_000
	clusterCritical     = maxUserPriority * 2
	nodeCritical        = clusterCritical + 1000
	clusterCriticalName = systemPrefix + "cluster-critical"
	nodeCriticalName    = systemPrefix + "node-critical"
)

// PriorityClass says what may be created.
func PriorityClass(obj *schedulingv1.PriorityClass) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	if strings.HasPrefix(obj.Name, systemPrefix) {
		if err := knownSystemPriority(obj); err != nil {
			errs = append(errs, field.Forbidden(metadataPath.Child("name"), "priority class names with '"+systemPrefix+"' prefix are reserved for system use only. error: "+err.Error()))
		}
	} else if obj.Value > maxUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %d", maxUserPriority)))
	}
	return append(errs, optionalOneOf(field.NewPath("preemptionPolicy"), obj.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)...)
}

func knownSystemPriority(obj *schedulingv1.PriorityClass) error {
	want, ok := map[string]int32{clusterCriticalName: clusterCritical, nodeCriticalName: nodeCritical}[obj.Name]
	switch {
	case !ok:
		return fmt.Errorf("%v is not a known system priority class", obj.Name)
	case obj.Value != want:
		return fmt.Errorf("value of %v PriorityClass must be %v", obj.Name, want)
	case obj.GlobalDefault:
		return fmt.Errorf("globalDefault of %v PriorityClass must be %v", obj.Name, false)
	}
	return nil
}

// PriorityClassUpdate says what a PriorityClass may be replaced with: Pods have copied its value already.
func PriorityClassUpdate(obj, old *schedulingv1.PriorityClass) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	if obj.Value != old.Value {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
	}
	return append(errs, validateImmutable(obj.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
}

// RuntimeClass says what may be created.
func RuntimeClass(obj *nodev1.RuntimeClass) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, requiredLabel(field.NewPath("handler"), obj.Handler)...)
	if obj.Overhead != nil {
		errs = append(errs, resourceRequirements(field.NewPath("overhead"), &corev1.ResourceRequirements{Limits: obj.Overhead.PodFixed}, containerResource, nil)...)
	}
	if s := obj.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		errs = append(errs, metav1validation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
		errs = append(errs, tolerations(at.Child("tolerations"), s.Tolerations)...)
		seen := map[corev1.Toleration]bool{}
		for i, t := range s.Tolerations {
			t.TolerationSeconds = nil
			if seen[t] {
				errs = append(errs, field.Duplicate(at.Child("tolerations").Index(i), s.Tolerations[i]))
			}
			seen[t] = true
		}
	}
	return errs
}

// RuntimeClassUpdate says what a RuntimeClass may be replaced with: Pods of the class run under its handler.
func RuntimeClassUpdate(obj, old *nodev1.RuntimeClass) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, validateImmutable(obj.Handler, old.Handler, field.NewPath("handler"))...)
}

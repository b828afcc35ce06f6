package validation

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ReplicationController says what may be created.
func ReplicationController(obj *corev1.ReplicationController) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, replicationControllerSpec(&obj.Spec)...)
}

// ReplicationControllerUpdate says what a ReplicationController may be replaced with. Unlike in apps/v1, the selector may change.
func ReplicationControllerUpdate(obj, old *corev1.ReplicationController) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, replicationControllerSpec(&obj.Spec)...)
}

func replicationControllerSpec(spec *corev1.ReplicationControllerSpec) field.ErrorList {
	errs := nonNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)
	if len(spec.Selector) == 0 {
		errs = append(errs, field.Required(specPath.Child("selector"), ""))
	}
	if spec.Replicas == nil {
		errs = append(errs, field.Required(specPath.Child("replicas"), ""))
	} else {
		errs = append(errs, nonNegative(specPath.Child("replicas"), *spec.Replicas)...)
	}
	at := specPath.Child("template")
	if spec.Template == nil {
		return append(errs, field.Required(at, ""))
	}
	if len(spec.Selector) > 0 && !labels.SelectorFromSet(spec.Selector).Matches(labels.Set(spec.Template.Labels)) {
		errs = append(errs, field.Invalid(at.Child("metadata", "labels"), spec.Template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, endlessTemplate(at, spec.Template, "ReplicationController")...)
}

// endlessTemplate checks a template whose Pods are replaced whenever they end: nothing in it may make them end.
func endlessTemplate(at *field.Path, template *corev1.PodTemplateSpec, kind string) field.ErrorList {
	errs := PodTemplateSpec(at, template)
	if template.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, oneOf(at.Child("spec", "restartPolicy"), template.Spec.RestartPolicy, corev1.RestartPolicyAlways)...)
	}
	if template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(at.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported"))
	}
	return errs
}

// ReplicationControllerStatusUpdate says what its controller may report.
func ReplicationControllerStatusUpdate(obj, old *corev1.ReplicationController) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	s := &obj.Status
	errs = append(errs, replicaCounts(s.Replicas, []count{
		{"fullyLabeledReplicas", s.FullyLabeledReplicas}, {"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas},
	})...)
	errs = append(errs, nonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}

// PodTemplate says what may be created.
func PodTemplate(obj *corev1.PodTemplate) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, PodTemplateSpec(field.NewPath("template"), &obj.Template)...)
}

// PodTemplateUpdate says what a PodTemplate may be replaced with.
func PodTemplateUpdate(obj, old *corev1.PodTemplate) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, PodTemplateSpec(field.NewPath("template"), &obj.Template)...)
}

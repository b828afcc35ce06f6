package validation

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Pod says what may be created.
func Pod(obj *corev1.Pod) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, podContent(obj)...)
	if len(obj.Spec.EphemeralContainers) > 0 {
		// They are for debugging what runs already, and come through their own subresource.
		errs = append(errs, field.Forbidden(specPath.Child("ephemeralContainers"), "cannot be set on create"))
	}
	return errs
}

// podContent holds what is true of a Pod at any time of its life.
func podContent(obj *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	if _, ok := obj.Annotations[corev1.MirrorPodAnnotationKey]; ok && obj.Spec.NodeName == "" {
		// A mirror Pod shows what a node runs by itself; without the node it would be scheduled like any other.
		errs = append(errs, field.Invalid(metadataPath.Child("annotations").Key(corev1.MirrorPodAnnotationKey), "", "must set spec.nodeName if mirror pod annotation is set"))
	}
	errs = append(errs, podSpec(specPath, &obj.Spec, podContext{isPod: true, podName: obj.Name})...)
	if obj.Spec.NodeName != "" && len(obj.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(specPath.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// PodTemplateSpec checks the template, at the given path, that a workload makes its Pods from.
func PodTemplateSpec(at *field.Path, template *corev1.PodTemplateSpec) field.ErrorList {
	meta := at.Child("metadata")
	errs := metav1validation.ValidateLabels(template.Labels, meta.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(template.Annotations, meta.Child("annotations"))...)
	errs = append(errs, podSpec(at.Child("spec"), &template.Spec, podContext{})...)
	if len(template.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(at.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// podContext is what the rules of a Pod's spec have to know from outside of the part that they look at.
type podContext struct {
	// isPod is false in a workload's template, where what is left open will be completed when a Pod is made from it.
	isPod bool
	// podName is empty in a template, and before generateName has been answered.
	podName string
	// spec is the whole spec.
	spec *corev1.PodSpec
	// volumes holds the valid volumes by name.
	volumes map[string]*corev1.Volume
}

package validation

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ephemeralVolume checks the claim that is made for the volume, and goes with the Pod. It will be named <pod>-<volume>.
func ephemeralVolume(at *field.Path, v volume) field.ErrorList {
	template := v.Ephemeral.VolumeClaimTemplate
	at = at.Child("volumeClaimTemplate")
	if template == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if v.in.podName != "" && v.Name != "" {
		name := v.in.podName + "-" + v.Name
		for _, complaint := range dnsSubdomainName(name, false) {
			errs = append(errs, field.Invalid(at.Child("metadata", "name"), name, complaint))
		}
	}
	meta := at.Child("metadata")
	errs = append(errs, metav1validation.ValidateLabels(template.Labels, meta.Child("labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(template.Annotations, meta.Child("annotations"))...)
	errs = append(errs, apivalidation.ValidateOwnerReferences(template.OwnerReferences, meta.Child("ownerReferences"))...)
	return append(errs, claimSpec(at.Child("spec"), &template.Spec)...)
}

func claimSpec(at *field.Path, spec *corev1.PersistentVolumeClaimSpec) field.ErrorList {
	errs := accessModes(at.Child("accessModes"), spec.AccessModes, "at least 1 access mode is required")
	errs = append(errs, metav1validation.ValidateLabelSelector(spec.Selector, metav1validation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	storage := at.Child("resources").Key(string(corev1.ResourceStorage))
	if size, ok := spec.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(storage, ""))
	} else if size.Sign() <= 0 {
		errs = append(errs, field.Invalid(storage, size.String(), "must be greater than zero"))
	}
	if spec.StorageClassName != nil && *spec.StorageClassName != "" {
		errs = append(errs, dnsSubdomain(at.Child("storageClassName"), *spec.StorageClassName)...)
	}
	if spec.VolumeAttributesClassName != nil && *spec.VolumeAttributesClassName != "" {
		errs = append(errs, dnsSubdomain(at.Child("volumeAttributesClassName"), *spec.VolumeAttributesClassName)...)
	}
	errs = append(errs, optionalOneOf(at.Child("volumeMode"), spec.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	return append(errs, claimDataSource(at, spec)...)
}

// claimDataSource checks what the volume is to be filled from: dataSource is the older form, for the claim's own namespace.
func claimDataSource(at *field.Path, spec *corev1.PersistentVolumeClaimSpec) field.ErrorList {
	var errs field.ErrorList
	check := func(at *field.Path, group *string, kind, name string) {
		errs = append(errs, required(at.Child("name"), name)...)
		errs = append(errs, required(at.Child("kind"), kind)...)
		if (group == nil || *group == "") && kind != "" && kind != "PersistentVolumeClaim" {
			errs = append(errs, field.Invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
		}
		if group != nil && *group != "" {
			errs = append(errs, dnsSubdomain(at.Child("apiGroup"), *group)...)
		}
	}
	if source := spec.DataSource; source != nil {
		check(at.Child("dataSource"), source.APIGroup, source.Kind, source.Name)
	}
	if ref := spec.DataSourceRef; ref != nil {
		refAt := at.Child("dataSourceRef")
		check(refAt, ref.APIGroup, ref.Kind, ref.Name)
		if ref.Namespace != nil && *ref.Namespace != "" {
			errs = append(errs, dnsLabel(refAt.Child("namespace"), *ref.Namespace)...)
			if spec.DataSource != nil {
				errs = append(errs, field.Invalid(at.Child("dataSource"), spec.DataSource.Name, "may not be specified when dataSourceRef.namespace is specified"))
			}
		}
	}
	return errs
}

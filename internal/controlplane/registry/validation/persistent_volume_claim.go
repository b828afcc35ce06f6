package validation

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PersistentVolumeClaim says what may be created.
func PersistentVolumeClaim(obj *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, claimSpec(specPath, &obj.Spec)...)
}

// PersistentVolumeClaimUpdate says what a claim may be replaced with. What was asked for stays, so that nobody grows past a quota by asking twice;
// the binder sets the volume once, a missing class may be told later, and a bound claim may grow.
func PersistentVolumeClaimUpdate(obj, old *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, claimSpec(specPath, &obj.Spec)...)
	if !sameAnnotation(obj, old, corev1.BetaStorageClassAnnotation) && !classFromAnnotation(obj, old) {
		at := metadataPath.Child("annotations").Key(corev1.BetaStorageClassAnnotation)
		errs = append(errs, field.Invalid(at, obj.Annotations[corev1.BetaStorageClassAnnotation], fieldIsImmutable))
	}
	if rest := claimWithMutableFieldsOf(obj, old); !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(specPath, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"+diff.Diff(old.Spec, *rest)))
	}
	size, was, have := obj.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage], old.Status.Capacity[corev1.ResourceStorage]
	if size.Cmp(was) < 0 && size.Cmp(have) <= 0 {
		// A growth that failed may be taken back, but not to less than there is.
		errs = append(errs, field.Forbidden(specPath.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	errs = append(errs, validateImmutable(obj.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Status.CurrentVolumeAttributesClassName != nil {
		at := specPath.Child("volumeAttributesClassName")
		switch class := obj.Spec.VolumeAttributesClassName; {
		case class == nil:
			errs = append(errs, field.Forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"))
		case *class == "":
			errs = append(errs, field.Forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil"))
		}
	}
	return errs
}

func sameAnnotation(obj, old *corev1.PersistentVolumeClaim, key string) bool {
	return obj.Annotations[key] == old.Annotations[key]
}

// classFromAnnotation says whether the class moves from the annotation of old to the field.
func classFromAnnotation(obj, old *corev1.PersistentVolumeClaim) bool {
	was, annotated := old.Annotations[corev1.BetaStorageClassAnnotation]
	now, still := obj.Annotations[corev1.BetaStorageClassAnnotation]
	return annotated && old.Spec.StorageClassName == nil && obj.Spec.StorageClassName != nil && *obj.Spec.StorageClassName == was && (!still || now == was)
}

// claimWithMutableFieldsOf is obj's spec with the fields that an update may change as they are in old.
func claimWithMutableFieldsOf(obj, old *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimSpec {
	spec := obj.Spec.DeepCopy()
	if old.Spec.VolumeName == "" {
		spec.VolumeName = ""
	}
	class, annotated := old.Annotations[corev1.BetaStorageClassAnnotation]
	if old.Spec.StorageClassName == nil && spec.StorageClassName != nil && (!annotated || *spec.StorageClassName == class) {
		spec.StorageClassName = nil
	}
	if obj.Status.Phase == corev1.ClaimBound {
		if was, ok := old.Spec.Resources.Requests[corev1.ResourceStorage]; ok && spec.Resources.Requests != nil {
			spec.Resources.Requests[corev1.ResourceStorage] = was
		}
		spec.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	}
	return spec
}

// PersistentVolumeClaimStatusUpdate says what the binder and the resizer may report.
func PersistentVolumeClaimStatusUpdate(obj, old *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	if len(obj.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(specPath.Child("accessModes"), ""))
	}
	errs = append(errs, resourceList(statusPath.Child("capacity"), obj.Status.Capacity, qualifiedResource)...)
	at := statusPath.Child("allocatedResourceStatuses")
	for _, name := range sortedKeys(obj.Status.AllocatedResourceStatuses) {
		errs = append(errs, claimResource(at, name)...)
		errs = append(errs, oneOf(at.Key(string(name)), obj.Status.AllocatedResourceStatuses[name],
			corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
			corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible)...)
	}
	return append(errs, resourceList(statusPath.Child("allocatedResources"), obj.Status.AllocatedResources, claimResource)...)
}

// claimResource is storage, or a resource of a storage driver under its own domain.
func claimResource(at *field.Path, name corev1.ResourceName) field.ErrorList {
	if errs := qualifiedResource(at, name); len(errs) > 0 {
		return errs
	}
	if isNative(name) && name != corev1.ResourceStorage {
		return field.ErrorList{field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceStorage})}
	}
	return nil
}

package validation

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PersistentVolume says what may be created.
func PersistentVolume(obj *corev1.PersistentVolume) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, volumeSpec(specPath, &obj.Spec)...)
}

func volumeSpec(at *field.Path, spec *corev1.PersistentVolumeSpec) field.ErrorList {
	errs := accessModes(at.Child("accessModes"), spec.AccessModes, "")
	capacity := at.Child("capacity")
	if len(spec.Capacity) == 0 {
		errs = append(errs, field.Required(capacity, ""))
	}
	if _, ok := spec.Capacity[corev1.ResourceStorage]; !ok || len(spec.Capacity) > 1 {
		errs = append(errs, field.NotSupported(capacity, spec.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range sortedKeys(spec.Capacity) {
		if amount := spec.Capacity[name]; amount.Sign() <= 0 {
			errs = append(errs, field.Invalid(capacity.Key(string(name)), amount.String(), "must be greater than zero"))
		}
	}
	reclaim := at.Child("persistentVolumeReclaimPolicy")
	if spec.PersistentVolumeReclaimPolicy != "" {
		errs = append(errs, oneOf(reclaim, spec.PersistentVolumeReclaimPolicy,
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	}
	errs = append(errs, volumeNodeAffinity(at.Child("nodeAffinity"), spec.NodeAffinity)...)
	errs = append(errs, exactlyOne(at, spec, persistentSources)...)
	if spec.Local != nil && spec.NodeAffinity == nil {
		errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
	}
	if spec.HostPath != nil && path.Clean(spec.HostPath.Path) == "/" && spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		errs = append(errs, field.Forbidden(reclaim, "may not be 'recycle' for a hostPath mount of '/'"))
	}
	if spec.StorageClassName != "" {
		errs = append(errs, dnsSubdomain(at.Child("storageClassName"), spec.StorageClassName)...)
	}
	errs = append(errs, optionalOneOf(at.Child("volumeMode"), spec.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	if class := spec.VolumeAttributesClassName; class != nil {
		if *class == "" {
			errs = append(errs, field.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed"))
		} else {
			errs = append(errs, dnsSubdomain(at.Child("volumeAttributesClassName"), *class)...)
		}
		if spec.CSI == nil {
			errs = append(errs, field.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
	}
	return errs
}

// accessModes wants at least one known mode, and ReadWriteOncePod alone.
func accessModes(at *field.Path, modes []corev1.PersistentVolumeAccessMode, missing string) field.ErrorList {
	var errs field.ErrorList
	if len(modes) == 0 {
		errs = append(errs, field.Required(at, missing))
	}
	oncePod := false
	for _, mode := range modes {
		errs = append(errs, oneOf(at, mode, corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod)...)
		oncePod = oncePod || mode == corev1.ReadWriteOncePod
	}
	if oncePod && len(modes) > 1 {
		errs = append(errs, field.Forbidden(at, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

func volumeNodeAffinity(at *field.Path, affinity *corev1.VolumeNodeAffinity) field.ErrorList {
	if affinity == nil {
		return nil
	}
	if affinity.Required == nil {
		return field.ErrorList{field.Required(at.Child("required"), "must specify required node constraints")}
	}
	return nodeSelector(at.Child("required"), affinity.Required)
}

// PersistentVolumeUpdate says what a PersistentVolume may be replaced with. Where its data lies stays; so does the block or file system on it.
func PersistentVolumeUpdate(obj, old *corev1.PersistentVolume) field.ErrorList {
	errs := append(PersistentVolume(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	source := obj.Spec.PersistentVolumeSource
	if source.CSI != nil && old.Spec.CSI != nil && old.Spec.CSI.ControllerExpandSecretRef == nil {
		csi := *source.CSI // may be told later
		csi.ControllerExpandSecretRef = nil
		source.CSI = &csi
	}
	if !apiequality.Semantic.DeepEqual(source, old.Spec.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "persistentvolumesource"),
			"spec.persistentvolumesource is immutable after creation\n"+diff.Diff(old.Spec.PersistentVolumeSource, source)))
	}
	errs = append(errs, validateImmutable(obj.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil {
		errs = append(errs, validateImmutable(obj.Spec.NodeAffinity, old.Spec.NodeAffinity, field.NewPath("nodeAffinity"))...)
	}
	if old.Spec.VolumeAttributesClassName != nil && obj.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(specPath.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

// PersistentVolumeStatusUpdate says what the binder may report.
func PersistentVolumeStatusUpdate(obj, old *corev1.PersistentVolume) field.ErrorList {
	return metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
}

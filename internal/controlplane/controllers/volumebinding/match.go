package volumebinding

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// findVolume chooses a volume for a claim that names none: one that names the claim; otherwise, unless the scheduler is to choose, the smallest that is
// large enough, of those that promise the fewest ways of access.
func findVolume(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, delayed bool) (*corev1.PersistentVolume, error) {
	var own, free []*corev1.PersistentVolume
	for _, v := range volumes {
		switch {
		case !volume.CheckAccessModes(claim, v), pv.Filling(v):
		case volume.IsVolumeBoundToClaim(v, claim):
			own = append(own, v)
		case v.Spec.ClaimRef == nil && !delayed:
			free = append(free, v)
		}
	}
	if v, err := volume.FindMatchingVolume(claim, own, nil, nil, delayed, true); v != nil || err != nil {
		return v, err
	}
	byModes := map[int][]*corev1.PersistentVolume{}
	for _, v := range free {
		byModes[len(v.Spec.AccessModes)] = append(byModes[len(v.Spec.AccessModes)], v)
	}
	for n := range len(accessModes) {
		of := byModes[n+1]
		slices.SortFunc(of, func(a, b *corev1.PersistentVolume) int { return cmp.Compare(a.Name, b.Name) })
		if v, err := volume.FindMatchingVolume(claim, of, nil, nil, delayed, true); v != nil || err != nil {
			return v, err
		}
	}
	return nil, nil
}

var accessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod}

// mismatch says why a volume that a claim names cannot be its own, or nothing.
func mismatch(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	want, have := claim.Spec.Resources.Requests.Storage(), v.Spec.Capacity.Storage()
	switch {
	case have.Cmp(*want) < 0:
		return fmt.Sprintf("requested PV is too small: it has %s, the claim asks for %s", have, want)
	case volume.GetPersistentVolumeClass(v) != volume.GetPersistentVolumeClaimClass(claim):
		return fmt.Sprintf("storageClassName does not match: the volume has %q, the claim %q", volume.GetPersistentVolumeClass(v), volume.GetPersistentVolumeClaimClass(claim))
	case volume.CheckVolumeModeMismatches(&claim.Spec, &v.Spec):
		return fmt.Sprintf("incompatible volumeMode: the volume has %s, the claim %s", mode(v.Spec.VolumeMode), mode(claim.Spec.VolumeMode))
	case !volume.CheckAccessModes(claim, v):
		return fmt.Sprintf("incompatible accessMode: the volume has %v, the claim %v", v.Spec.AccessModes, claim.Spec.AccessModes)
	case ptr.Deref(v.Spec.VolumeAttributesClassName, "") != ptr.Deref(claim.Spec.VolumeAttributesClassName, ""):
		return "volumeAttributesClassName does not match"
	}
	return ""
}

func mode(m *corev1.PersistentVolumeMode) corev1.PersistentVolumeMode {
	return ptr.Deref(m, corev1.PersistentVolumeFilesystem)
}

// unmatched says what comes closest to a volume for a claim that none was found for.
func unmatched(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume) string {
	var largest *corev1.PersistentVolume
	for _, v := range volumes {
		if v.Spec.ClaimRef == nil && volume.CheckAccessModes(claim, v) && volume.GetPersistentVolumeClass(v) == volume.GetPersistentVolumeClaimClass(claim) &&
			(largest == nil || v.Spec.Capacity.Storage().Cmp(*largest.Spec.Capacity.Storage()) > 0) {
			largest = v
		}
	}
	for _, v := range volumes {
		if ref := v.Spec.ClaimRef; ref != nil && ref.Namespace == claim.Namespace && ref.Name == claim.Name && v.Status.Phase == corev1.VolumeReleased &&
			v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
			return fmt.Sprintf("; volume %s has the data of an earlier claim of this name: it is bound to this one if that has the annotation %s: \"true\"", v.Name, Adopt)
		}
	}
	if want := claim.Spec.Resources.Requests.Storage(); largest != nil && largest.Spec.Capacity.Storage().Cmp(*want) < 0 {
		return fmt.Sprintf("; the largest free one, %s, has %s, the claim asks for %s", largest.Name, largest.Spec.Capacity.Storage(), want)
	}
	return ""
}

// delays says whether the volumes of a class are bound when a Pod needs them, by the scheduler.
func delays(class *storagev1.StorageClass) bool {
	return class != nil && ptr.Deref(class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingWaitForFirstConsumer
}

package volumebinding

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
)

// Protection is the finalizer that keeps a volume which is being deleted until no claim has it. Admission puts it on every volume.
const Protection = "kubernetes.io/pv-protection"

// Adopt is the annotation by which a claim, when it is "true", gets the released volume that an earlier claim of its name left: its data is wanted back.
const Adopt = "gitopsd.io/adopt-volume"

// ObservedVolume is what a decision about a volume rests on.
type ObservedVolume struct {
	Volume *corev1.PersistentVolume
	// Claim is that of the name in the volume's claimRef; nil when there is none.
	Claim *corev1.PersistentVolumeClaim
	// Live says that Claim was read from the API itself.
	Live bool
}

// DecideVolume looks at one volume.
func DecideVolume(o ObservedVolume) Actions {
	v, ref := o.Volume, o.Volume.Spec.ClaimRef
	switch {
	case ref == nil:
		return o.letGo(o.is(corev1.VolumeAvailable, ""))
	case ref.UID == "":
		a := o.letGo(o.is(corev1.VolumeAvailable, "")) // kept for a claim of that name
		a.LookAtClaim = o.Claim != nil
		return a
	case o.Claim == nil || o.Claim.UID != ref.UID:
		return o.released()
	case o.Claim.Spec.VolumeName != "" && o.Claim.Spec.VolumeName != v.Name:
		return o.unneeded()
	case metav1.HasAnnotation(o.Claim.ObjectMeta, volume.AnnBindCompleted):
		return o.is(corev1.VolumeBound, "")
	case volume.CheckVolumeModeMismatches(&o.Claim.Spec, &v.Spec):
		a := o.letGo(o.is(corev1.VolumeAvailable, ""))
		a.Events = []Event{warning(reasonVolumeMismatch, fmt.Sprintf("Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", o.Claim.Name))}
		return a
	}
	return Actions{LookAtClaim: true} // half of a pair
}

// is gives the volume a phase.
func (o ObservedVolume) is(p corev1.PersistentVolumePhase, message string) Actions {
	s := &o.Volume.Status
	if s.Phase == p && s.Message == message {
		return Actions{}
	}
	next := o.Volume.DeepCopy()
	next.Status.Phase, next.Status.Message, next.Status.Reason = p, message, ""
	return Actions{Volume: next}
}

// letGo takes the protection off a volume that is being deleted and that no claim has.
func (o ObservedVolume) letGo(a Actions) Actions {
	if o.Volume.DeletionTimestamp == nil || !slices.Contains(o.Volume.Finalizers, Protection) {
		return a
	}
	if a.Volume == nil {
		a.Volume = o.Volume.DeepCopy()
	}
	a.Volume.Finalizers = slices.DeleteFunc(a.Volume.Finalizers, func(f string) bool { return f == Protection })
	return a
}

// released is what becomes of a volume whose claim is gone.
func (o ObservedVolume) released() Actions {
	v := o.Volume
	if !o.Live && v.Status.Phase != corev1.VolumeReleased && v.Status.Phase != corev1.VolumeFailed {
		return Actions{Confirm: true}
	}
	if c := o.Claim; c != nil && c.Annotations[Adopt] == "true" && c.DeletionTimestamp == nil && v.DeletionTimestamp == nil &&
		(c.Spec.VolumeName == "" || c.Spec.VolumeName == v.Name) && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain && mismatch(v, c) == "" {
		if !o.Live {
			return Actions{Confirm: true}
		}
		a := o.is(corev1.VolumeAvailable, "")
		if a.Volume == nil {
			a.Volume = v.DeepCopy()
		}
		a.Volume.Spec.ClaimRef.UID, a.Volume.Spec.ClaimRef.ResourceVersion = "", ""
		return a
	}
	switch failed := v.Status.Phase == corev1.VolumeFailed; {
	case v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle:
		return o.letGo(o.cannot(failed, reasonVolumeFailedRecycle, "no recyclable volume plugin matched: the policy Recycle is not carried out; use Delete with a class that makes volumes, or Retain"))
	case v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete && v.Spec.CSI == nil && !metav1.HasAnnotation(v.ObjectMeta, volume.AnnDynamicallyProvisioned):
		return o.letGo(o.cannot(failed, reasonVolumeFailedDelete, "no deletable volume plugin matched: nobody has made this volume, so nobody deletes it; delete its data and the PersistentVolume by hand"))
	case failed:
		return o.letGo(Actions{}) // its deleter said so, and tries again
	}
	return o.letGo(o.is(corev1.VolumeReleased, ""))
}

// cannot says that a volume is not reclaimed as it asks to be.
func (o ObservedVolume) cannot(told bool, reason, why string) Actions {
	a := o.is(corev1.VolumeFailed, why)
	if !told {
		a.Events = []Event{warning(reason, why)}
	}
	return a
}

// unneeded is what becomes of a volume that was chosen or made for a claim that has another one now. It keeps that one for good, so there is nothing to confirm.
func (o ObservedVolume) unneeded() Actions {
	v := o.Volume
	if metav1.HasAnnotation(v.ObjectMeta, volume.AnnDynamicallyProvisioned) && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		return o.letGo(o.is(corev1.VolumeReleased, "")) // made for nothing: its provisioner deletes it
	}
	if !metav1.HasAnnotation(v.ObjectMeta, volume.AnnBoundByController) {
		return o.letGo(o.is(corev1.VolumeAvailable, "")) // somebody wants it for that claim, and it stays
	}
	a := o.is(corev1.VolumeAvailable, "")
	if a.Volume == nil {
		a.Volume = v.DeepCopy()
	}
	a.Volume.Spec.ClaimRef = nil
	delete(a.Volume.Annotations, volume.AnnBoundByController)
	return o.letGo(a)
}

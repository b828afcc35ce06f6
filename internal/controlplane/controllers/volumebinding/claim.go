package volumebinding

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// ObservedClaim is what a decision about a claim rests on.
type ObservedClaim struct {
	Claim *corev1.PersistentVolumeClaim
	// Named is the volume that the claim names; nil when there is none.
	Named *corev1.PersistentVolume
	// Volumes are all that could become the claim's. They matter only while it names none.
	Volumes []*corev1.PersistentVolume
	// Class is the claim's, nil if there is none; Default is the class that a claim which names none gets, empty if there is none.
	Class   *storagev1.StorageClass
	Default string
	// Live says that Named was read from the API itself.
	Live bool
}

// DecideClaim looks at one claim.
func DecideClaim(o ObservedClaim) Actions {
	claim := o.Claim
	switch {
	case metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted):
		return o.bound()
	case claim.DeletionTimestamp != nil:
		return Actions{}
	case claim.Spec.VolumeName != "":
		return o.named()
	}
	return o.unbound()
}

// bound looks after a claim that has had its volume.
func (o ObservedClaim) bound() Actions {
	claim, v := o.Claim, o.Named
	lost := func(reason, why string) Actions {
		if claim.Status.Phase == corev1.ClaimLost {
			return Actions{}
		}
		if !o.Live && claim.Spec.VolumeName != "" {
			return Actions{Confirm: true}
		}
		next := claim.DeepCopy()
		next.Status.Phase, next.Status.AccessModes, next.Status.Capacity = corev1.ClaimLost, nil, nil
		return Actions{Claim: next, Events: []Event{warning(reason, why)}}
	}
	switch {
	case claim.Spec.VolumeName == "":
		return lost(reasonClaimLost, "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	case v == nil:
		return lost(reasonClaimLost, fmt.Sprintf("Bound claim has lost its PersistentVolume %s. Data on the volume is lost! Create a PersistentVolume of that name for the data, or the claim anew", claim.Spec.VolumeName))
	case v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID == "" && volume.IsVolumeBoundToClaim(v, claim):
		return bind(claim, v) // somebody took the reference away, or made the volume anew
	case !volume.IsVolumeBoundToClaim(v, claim):
		return lost(reasonClaimMisbound, fmt.Sprintf("Two claims are bound to the same volume %s, this one is bound incorrectly", v.Name))
	}
	a := bind(claim, v)
	if grows(claim) && v.Spec.CSI == nil && claim.Spec.Resources.Requests.Storage().Cmp(*v.Spec.Capacity.Storage()) > 0 {
		a.Events = append(a.Events, warning(reasonExternalExpanding, "waiting for an external controller to expand this PVC"))
	}
	return a
}

// grows says that a claim asks for more than it has.
func grows(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Spec.Resources.Requests.Storage().Cmp(*claim.Status.Capacity.Storage()) > 0
}

// named binds a claim to the volume that it asks for by name.
func (o ObservedClaim) named() Actions {
	claim, v := o.Claim, o.Named
	pending := func(e Event) Actions {
		a := phase(claim, corev1.ClaimPending)
		a.Events = []Event{e}
		return a
	}
	switch {
	case v == nil:
		return pending(normal(reasonFailedBinding, fmt.Sprintf("volume %q, which the claim names, does not exist", claim.Spec.VolumeName)))
	case v.Spec.ClaimRef != nil && !volume.IsVolumeBoundToClaim(v, claim):
		return pending(warning(reasonFailedBinding, fmt.Sprintf("volume %q already bound to a different claim.", v.Name)))
	case v.DeletionTimestamp != nil:
		return pending(warning(reasonFailedBinding, fmt.Sprintf("volume %q is being deleted", v.Name)))
	case pv.Filling(v):
		return pending(normal(reasonFailedBinding, fmt.Sprintf("volume %q is still being filled", v.Name)))
	}
	why := mismatch(v, claim)
	if v.Spec.ClaimRef != nil && !volume.CheckVolumeModeMismatches(&claim.Spec, &v.Spec) {
		why = "" // each names the other: somebody wants that pair
	}
	if why != "" {
		return pending(warning(reasonVolumeMismatch, fmt.Sprintf("Cannot bind to requested volume %q: %s", v.Name, why)))
	}
	return bind(claim, v)
}

// unbound looks for a volume, or says what the claim waits for.
func (o ObservedClaim) unbound() Actions {
	claim := o.Claim
	if claim.Spec.StorageClassName == nil && claim.Annotations[corev1.BetaStorageClassAnnotation] == "" && o.Default != "" {
		next := claim.DeepCopy()
		next.Spec.StorageClassName = &o.Default
		return Actions{Claim: next}
	}
	delayed := delays(o.Class) && claim.Annotations[volume.AnnSelectedNode] == ""
	v, err := findVolume(claim, o.Volumes, delays(o.Class))
	switch {
	case err != nil:
		a := phase(claim, corev1.ClaimPending)
		a.Events = []Event{warning(reasonFailedBinding, err.Error())}
		return a
	case v != nil:
		return bind(claim, v)
	}
	a := phase(claim, corev1.ClaimPending)
	name := volume.GetPersistentVolumeClaimClass(claim)
	switch {
	case delayed:
		a.Events = []Event{normal(reasonWaitForFirstConsumer, "waiting for first consumer to be created before binding")}
	case name == "":
		a.Events = []Event{normal(reasonFailedBinding, "no persistent volumes available for this claim and no storage class is set"+unmatched(claim, o.Volumes))}
	case o.Class == nil:
		a.Events = []Event{warning(reasonProvisioningFailed, fmt.Sprintf("storageclass.storage.k8s.io %q not found", name)+unmatched(claim, o.Volumes))}
	case o.Class.Provisioner == volume.NotSupportedProvisioner:
		a.Events = []Event{normal(reasonFailedBinding, fmt.Sprintf("no persistent volumes of class %q available for this claim, and the class makes none", name)+unmatched(claim, o.Volumes))}
	default:
		return o.provision(a)
	}
	return a
}

// provision asks the class's provisioner for a volume.
func (o ObservedClaim) provision(a Actions) Actions {
	by := o.Class.Provisioner
	a.Events = []Event{normal(reasonExternalProvisioning, fmt.Sprintf("Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
		"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", by))}
	if o.Claim.Annotations[volume.AnnStorageProvisioner] == by {
		return a
	}
	if a.Claim == nil {
		a.Claim = o.Claim.DeepCopy()
	}
	// Provisioners look for the one or the other.
	metav1.SetMetaDataAnnotation(&a.Claim.ObjectMeta, volume.AnnStorageProvisioner, by)
	metav1.SetMetaDataAnnotation(&a.Claim.ObjectMeta, volume.AnnBetaStorageProvisioner, by)
	return a
}

func phase(claim *corev1.PersistentVolumeClaim, p corev1.PersistentVolumeClaimPhase) Actions {
	if claim.Status.Phase == p {
		return Actions{}
	}
	next := claim.DeepCopy()
	next.Status.Phase = p
	return Actions{Claim: next}
}

// bind makes a pair of a claim and a volume, or completes it.
func bind(claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) Actions {
	var a Actions
	nextVolume, changed, err := volume.GetBindVolumeToClaim(v, claim)
	if err != nil {
		return Actions{Events: []Event{warning(reasonFailedBinding, fmt.Sprintf("volume %q: %v", v.Name, err))}}
	}
	if changed || v.Status.Phase != corev1.VolumeBound {
		nextVolume.Status.Phase, nextVolume.Status.Message, nextVolume.Status.Reason = corev1.VolumeBound, "", ""
		a.Volume = nextVolume
	}
	next := claim.DeepCopy()
	if next.Spec.VolumeName != v.Name {
		next.Spec.VolumeName = v.Name
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, volume.AnnBoundByController, "yes")
	}
	fresh := !metav1.HasAnnotation(next.ObjectMeta, volume.AnnBindCompleted)
	if fresh {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, volume.AnnBindCompleted, "yes")
	}
	s := &next.Status
	if fresh || s.Phase != corev1.ClaimBound {
		// Later the size is written by who has made the volume that large.
		s.Capacity = corev1.ResourceList{corev1.ResourceStorage: v.Spec.Capacity.Storage().DeepCopy()}
	}
	s.Phase, s.AccessModes = corev1.ClaimBound, slices.Clone(v.Spec.AccessModes)
	if name := v.Spec.VolumeAttributesClassName; fresh && ptr.Deref(name, "") != "" {
		s.CurrentVolumeAttributesClassName = ptr.To(*name)
	}
	if fresh || claim.Status.Phase != s.Phase || !slices.Equal(claim.Status.AccessModes, s.AccessModes) || !maps.Equal(claim.Annotations, next.Annotations) {
		a.Claim = next
	}
	return a
}

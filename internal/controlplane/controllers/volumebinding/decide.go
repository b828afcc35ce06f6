package volumebinding

import (
	corev1 "k8s.io/api/core/v1"
)

// Actions are what is to become of a claim and a volume. Nil means that it stays as it is.
type Actions struct {
	Volume *corev1.PersistentVolume
	Claim  *corev1.PersistentVolumeClaim
	Events []Event
	// Confirm says that nothing is decided yet: what the cache says would end something for good, and is to be read from the API itself first.
	Confirm bool
	// LookAtClaim says that the volume's claim is to be looked at now.
	LookAtClaim bool
}

// Event is what users are told, at the object that was looked at.
type Event struct {
	Type, Reason, Message string
}

// Reasons of Events, as other tools know them from kube-controller-manager.
const (
	reasonFailedBinding        = "FailedBinding"
	reasonWaitForFirstConsumer = "WaitForFirstConsumer"
	reasonProvisioningFailed   = "ProvisioningFailed"
	reasonExternalProvisioning = "ExternalProvisioning"
	reasonExternalExpanding    = "ExternalExpanding"
	reasonVolumeMismatch       = "VolumeMismatch"
	reasonClaimLost            = "ClaimLost"
	reasonClaimMisbound        = "ClaimMisbound"
	reasonVolumeFailedDelete   = "VolumeFailedDelete"
	reasonVolumeFailedRecycle  = "VolumeFailedRecycle"
)

func normal(reason, message string) Event {
	return Event{corev1.EventTypeNormal, reason, message}
}

func warning(reason, message string) Event {
	return Event{corev1.EventTypeWarning, reason, message}
}

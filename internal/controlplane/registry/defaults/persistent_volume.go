package defaults

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	corev1 "k8s.io/api/core/v1"
)

// SetPersistentVolume completes a PersistentVolume: a file system that is kept when its claim goes.
func SetPersistentVolume(obj *corev1.PersistentVolume) {
	setIfZero(&obj.Status.Phase, corev1.VolumePending)
	spec := &obj.Spec
	setIfZero(&spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	setIfNil(&spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUpResources(spec.Capacity)
	if spec.HostPath != nil {
		setIfNil(&spec.HostPath.Type, corev1.HostPathUnset)
	}
	if spec.ISCSI != nil {
		setIfZero(&spec.ISCSI.ISCSIInterface, "default")
	}
	if spec.RBD != nil {
		setIfZero(&spec.RBD.RBDPool, "rbd")
		setIfZero(&spec.RBD.RadosUser, "admin")
		setIfZero(&spec.RBD.Keyring, "/etc/ceph/keyring")
	}
	if spec.ScaleIO != nil {
		setIfZero(&spec.ScaleIO.StorageMode, "ThinProvisioned")
		setIfZero(&spec.ScaleIO.FSType, "xfs")
	}
	if spec.AzureDisk != nil {
		setRemoteVolume(&corev1.VolumeSource{AzureDisk: spec.AzureDisk})
	}
}

// SetPersistentVolumeClaim completes a claim: it asks for a file system.
func SetPersistentVolumeClaim(obj *corev1.PersistentVolumeClaim) {
	setIfZero(&obj.Status.Phase, corev1.ClaimPending)
	setIfNil(&obj.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUpResources(obj.Spec.Resources.Limits)
	roundUpResources(obj.Spec.Resources.Requests)
	roundUpResources(obj.Status.Capacity)
}

// SetEndpoints completes Endpoints.
func SetEndpoints(obj *corev1.Endpoints) {
	for i := range obj.Subsets {
		for j := range obj.Subsets[i].Ports {
			setIfZero(&obj.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

// SetLimitRange completes a LimitRange: a container that is given no limit gets the largest allowed, one that says no request its limit, or the least allowed.
func SetLimitRange(obj *corev1.LimitRange) {
	for i := range obj.Spec.Limits {
		item := &obj.Spec.Limits[i]
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			roundUpResources(list)
		}
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		if item.Default == nil {
			item.Default = corev1.ResourceList{}
		}
		if item.DefaultRequest == nil {
			item.DefaultRequest = corev1.ResourceList{}
		}
		takeMissing(item.Default, item.Max)
		takeMissing(item.DefaultRequest, item.Default)
		takeMissing(item.DefaultRequest, item.Min)
	}
}

func takeMissing(list, from corev1.ResourceList) {
	for name, amount := range from {
		if _, ok := list[name]; !ok {
			list[name] = amount.DeepCopy()
		}
	}
}

// SetResourceQuota completes a ResourceQuota.
func SetResourceQuota(obj *corev1.ResourceQuota) {
	roundUpResources(obj.Spec.Hard)
	roundUpResources(obj.Status.Hard)
	roundUpResources(obj.Status.Used)
}

package validation

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type persistent = *corev1.PersistentVolumeSpec

// persistentSources are what a PersistentVolume can lie on. Where Pods can use the same directly, the rules are theirs.
var persistentSources = []source[persistent]{
	{"hostPath", func(v persistent) bool { return v.HostPath != nil }, func(at *field.Path, v persistent) field.ErrorList { return hostPath(at, v.HostPath) }},
	{"local", func(v persistent) bool { return v.Local != nil }, func(at *field.Path, v persistent) field.ErrorList {
		if v.Local.Path == "" {
			return field.ErrorList{field.Required(at.Child("path"), "")}
		}
		return noBackSteps(at.Child("path"), v.Local.Path)
	}},
	{"csi", func(v persistent) bool { return v.CSI != nil }, func(at *field.Path, v persistent) field.ErrorList { return csiPersistent(at, v.CSI) }},
	{"nfs", func(v persistent) bool { return v.NFS != nil }, func(at *field.Path, v persistent) field.ErrorList { return nfs(at, v.NFS) }},
	{"fc", func(v persistent) bool { return v.FC != nil }, func(at *field.Path, v persistent) field.ErrorList { return fibreChannel(at, v.FC) }},
	{"iscsi", func(v persistent) bool { return v.ISCSI != nil }, func(at *field.Path, v persistent) field.ErrorList { return iscsiPersistent(at, v.ISCSI) }},
	{"quobyte", func(v persistent) bool { return v.Quobyte != nil }, func(at *field.Path, v persistent) field.ErrorList { return quobyte(at, v.Quobyte) }},
	{"flocker", func(v persistent) bool { return v.Flocker != nil }, func(at *field.Path, v persistent) field.ErrorList { return flocker(at, v.Flocker) }},
	{"azureDisk", func(v persistent) bool { return v.AzureDisk != nil }, func(at *field.Path, v persistent) field.ErrorList { return azureDisk(at, v.AzureDisk) }},
	{"rbd", func(v persistent) bool { return v.RBD != nil }, func(at *field.Path, v persistent) field.ErrorList {
		errs := required(at.Child("image"), v.RBD.RBDImage)
		return append(errs, requiredList(at.Child("monitors"), v.RBD.CephMonitors)...)
	}},
	{"cephfs", func(v persistent) bool { return v.CephFS != nil }, func(at *field.Path, v persistent) field.ErrorList {
		return requiredList(at.Child("monitors"), v.CephFS.Monitors)
	}},
	{"cinder", func(v persistent) bool { return v.Cinder != nil }, func(at *field.Path, v persistent) field.ErrorList {
		return required(at.Child("volumeID"), v.Cinder.VolumeID)
	}},
	{"glusterfs", func(v persistent) bool { return v.Glusterfs != nil }, func(at *field.Path, v persistent) field.ErrorList {
		errs := required(at.Child("endpoints"), v.Glusterfs.EndpointsName)
		return append(errs, required(at.Child("path"), v.Glusterfs.Path)...)
	}},
	{"storageos", func(v persistent) bool { return v.StorageOS != nil }, func(at *field.Path, v persistent) field.ErrorList {
		return required(at.Child("volumeName"), v.StorageOS.VolumeName)
	}},
	{"scaleIO", func(v persistent) bool { return v.ScaleIO != nil }, func(at *field.Path, v persistent) field.ErrorList {
		errs := required(at.Child("gateway"), v.ScaleIO.Gateway)
		errs = append(errs, required(at.Child("system"), v.ScaleIO.System)...)
		return append(errs, required(at.Child("volumeName"), v.ScaleIO.VolumeName)...)
	}},
	{"flexVolume", func(v persistent) bool { return v.FlexVolume != nil }, func(at *field.Path, v persistent) field.ErrorList {
		return required(at.Child("driver"), v.FlexVolume.Driver)
	}},
	{"azureFile", func(v persistent) bool { return v.AzureFile != nil }, func(at *field.Path, v persistent) field.ErrorList {
		errs := required(at.Child("secretName"), v.AzureFile.SecretName)
		errs = append(errs, required(at.Child("shareName"), v.AzureFile.ShareName)...)
		if v.AzureFile.SecretNamespace != nil && *v.AzureFile.SecretNamespace == "" {
			errs = append(errs, field.Required(at.Child("secretNamespace"), ""))
		}
		return errs
	}},
	{"portworxVolume", func(v persistent) bool { return v.PortworxVolume != nil }, func(at *field.Path, v persistent) field.ErrorList {
		return required(at.Child("volumeID"), v.PortworxVolume.VolumeID)
	}},
	{"photonPersistentDisk", func(v persistent) bool { return v.PhotonPersistentDisk != nil }, func(at *field.Path, v persistent) field.ErrorList {
		return required(at.Child("pdID"), v.PhotonPersistentDisk.PdID)
	}},
	{"vsphereVolume", func(v persistent) bool { return v.VsphereVolume != nil }, func(at *field.Path, v persistent) field.ErrorList {
		return required(at.Child("volumePath"), v.VsphereVolume.VolumePath)
	}},
	{"gcePersistentDisk", func(v persistent) bool { return v.GCEPersistentDisk != nil }, func(at *field.Path, v persistent) field.ErrorList {
		errs := required(at.Child("pdName"), v.GCEPersistentDisk.PDName)
		return append(errs, oneByte(at.Child("partition"), v.GCEPersistentDisk.Partition)...)
	}},
	{"awsElasticBlockStore", func(v persistent) bool { return v.AWSElasticBlockStore != nil }, func(at *field.Path, v persistent) field.ErrorList {
		errs := required(at.Child("volumeID"), v.AWSElasticBlockStore.VolumeID)
		return append(errs, oneByte(at.Child("partition"), v.AWSElasticBlockStore.Partition)...)
	}},
}

func csiPersistent(at *field.Path, csi *corev1.CSIPersistentVolumeSource) field.ErrorList {
	errs := csiDriver(at.Child("driver"), csi.Driver)
	errs = append(errs, required(at.Child("volumeHandle"), csi.VolumeHandle)...)
	for _, s := range []struct {
		child string
		ref   *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", csi.ControllerPublishSecretRef}, {"controllerExpandSecretRef", csi.ControllerExpandSecretRef},
		{"nodeStageSecretRef", csi.NodeStageSecretRef}, {"nodePublishSecretRef", csi.NodePublishSecretRef}, {"nodeExpandSecretRef", csi.NodeExpandSecretRef},
	} {
		if s.ref != nil {
			errs = append(errs, required(at.Child(s.child, "name"), s.ref.Name)...)
			errs = append(errs, requiredLabel(at.Child(s.child, "namespace"), s.ref.Namespace)...)
		}
	}
	return errs
}

func iscsiPersistent(at *field.Path, i *corev1.ISCSIPersistentVolumeSource) field.ErrorList {
	errs := required(at.Child("targetPortal"), i.TargetPortal)
	switch {
	case i.IQN == "":
		errs = append(errs, field.Required(at.Child("iqn"), ""))
	case !isISCSIName(i.IQN):
		errs = append(errs, field.Invalid(at.Child("iqn"), i.IQN, "must be valid format"))
	}
	if i.Lun < 0 || i.Lun > 255 {
		errs = append(errs, field.Invalid(at.Child("lun"), i.Lun, validation.InclusiveRangeError(0, 255)))
	}
	if (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil {
		errs = append(errs, field.Required(at.Child("secretRef"), ""))
	}
	return errs
}

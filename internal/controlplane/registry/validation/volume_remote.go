package validation

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// remoteSources are the kinds of volume that lie behind a network or a cloud's API. What they have in common is that the node
// can tell little about them but whether they say where they are.
var remoteSources = []source[volume]{
	{"nfs", func(v volume) bool { return v.NFS != nil }, func(at *field.Path, v volume) field.ErrorList { return nfs(at, v.NFS) }},
	{"iscsi", func(v volume) bool { return v.ISCSI != nil }, func(at *field.Path, v volume) field.ErrorList { return iscsi(at, v.ISCSI) }},
	{"fc", func(v volume) bool { return v.FC != nil }, func(at *field.Path, v volume) field.ErrorList { return fibreChannel(at, v.FC) }},
	{"rbd", func(v volume) bool { return v.RBD != nil }, func(at *field.Path, v volume) field.ErrorList {
		errs := required(at.Child("image"), v.RBD.RBDImage)
		return append(errs, requiredList(at.Child("monitors"), v.RBD.CephMonitors)...)
	}},
	{"cephfs", func(v volume) bool { return v.CephFS != nil }, func(at *field.Path, v volume) field.ErrorList {
		return requiredList(at.Child("monitors"), v.CephFS.Monitors)
	}},
	{"cinder", func(v volume) bool { return v.Cinder != nil }, func(at *field.Path, v volume) field.ErrorList {
		errs := required(at.Child("volumeID"), v.Cinder.VolumeID)
		return append(errs, optionalSecretRef(at.Child("secretRef"), v.Cinder.SecretRef)...)
	}},
	{"glusterfs", func(v volume) bool { return v.Glusterfs != nil }, func(at *field.Path, v volume) field.ErrorList {
		errs := required(at.Child("endpoints"), v.Glusterfs.EndpointsName)
		if v.Glusterfs.Path == "" {
			return append(errs, field.Required(at.Child("path"), ""))
		}
		return append(errs, noBackSteps(at.Child("path"), v.Glusterfs.Path)...)
	}},
	{"quobyte", func(v volume) bool { return v.Quobyte != nil }, func(at *field.Path, v volume) field.ErrorList { return quobyte(at, v.Quobyte) }},
	{"flocker", func(v volume) bool { return v.Flocker != nil }, func(at *field.Path, v volume) field.ErrorList { return flocker(at, v.Flocker) }},
	{"storageos", func(v volume) bool { return v.StorageOS != nil }, func(at *field.Path, v volume) field.ErrorList { return storageOS(at, v.StorageOS) }},
	{"scaleIO", func(v volume) bool { return v.ScaleIO != nil }, func(at *field.Path, v volume) field.ErrorList {
		errs := required(at.Child("gateway"), v.ScaleIO.Gateway)
		errs = append(errs, required(at.Child("system"), v.ScaleIO.System)...)
		return append(errs, required(at.Child("volumeName"), v.ScaleIO.VolumeName)...)
	}},
	{"portworxVolume", func(v volume) bool { return v.PortworxVolume != nil }, func(at *field.Path, v volume) field.ErrorList {
		return required(at.Child("volumeID"), v.PortworxVolume.VolumeID)
	}},
	{"photonPersistentDisk", func(v volume) bool { return v.PhotonPersistentDisk != nil }, func(at *field.Path, v volume) field.ErrorList {
		return required(at.Child("pdID"), v.PhotonPersistentDisk.PdID)
	}},
	{"vsphereVolume", func(v volume) bool { return v.VsphereVolume != nil }, func(at *field.Path, v volume) field.ErrorList {
		return required(at.Child("volumePath"), v.VsphereVolume.VolumePath)
	}},
	{"gcePersistentDisk", func(v volume) bool { return v.GCEPersistentDisk != nil }, func(at *field.Path, v volume) field.ErrorList {
		errs := required(at.Child("pdName"), v.GCEPersistentDisk.PDName)
		return append(errs, oneByte(at.Child("partition"), v.GCEPersistentDisk.Partition)...)
	}},
	{"awsElasticBlockStore", func(v volume) bool { return v.AWSElasticBlockStore != nil }, func(at *field.Path, v volume) field.ErrorList {
		errs := required(at.Child("volumeID"), v.AWSElasticBlockStore.VolumeID)
		return append(errs, oneByte(at.Child("partition"), v.AWSElasticBlockStore.Partition)...)
	}},
	{"azureFile", func(v volume) bool { return v.AzureFile != nil }, func(at *field.Path, v volume) field.ErrorList {
		errs := required(at.Child("secretName"), v.AzureFile.SecretName)
		return append(errs, required(at.Child("shareName"), v.AzureFile.ShareName)...)
	}},
	{"azureDisk", func(v volume) bool { return v.AzureDisk != nil }, func(at *field.Path, v volume) field.ErrorList { return azureDisk(at, v.AzureDisk) }},
	{"flexVolume", func(v volume) bool { return v.FlexVolume != nil }, func(at *field.Path, v volume) field.ErrorList { return flexVolume(at, v.FlexVolume) }},
}

func requiredList(at *field.Path, list []string) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

func optionalSecretRef(at *field.Path, ref *corev1.LocalObjectReference) field.ErrorList {
	if ref == nil {
		return nil
	}
	return required(at.Child("name"), ref.Name)
}

// oneByte wants a number that one byte can hold: that of a partition, of which 0 is the whole disk, or of a logical unit.
func oneByte(at *field.Path, n int32) field.ErrorList {
	if n < 0 || n > math.MaxUint8 {
		return field.ErrorList{field.Invalid(at, n, validation.InclusiveRangeError(0, math.MaxUint8))}
	}
	return nil
}

func nfs(at *field.Path, n *corev1.NFSVolumeSource) field.ErrorList {
	errs := required(at.Child("server"), n.Server)
	switch {
	case n.Path == "":
		errs = append(errs, field.Required(at.Child("path"), ""))
	case !strings.HasPrefix(n.Path, "/"):
		errs = append(errs, field.Invalid(at.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}

func iscsi(at *field.Path, i *corev1.ISCSIVolumeSource) field.ErrorList {
	errs := required(at.Child("targetPortal"), i.TargetPortal)
	switch {
	case i.IQN == "":
		errs = append(errs, field.Required(at.Child("iqn"), ""))
	case !isISCSIName(i.IQN):
		errs = append(errs, field.Invalid(at.Child("iqn"), i.IQN, "must be valid format starting with iqn, eui, or naa"))
	}
	errs = append(errs, oneByte(at.Child("lun"), i.Lun)...)
	if (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil {
		errs = append(errs, field.Required(at.Child("secretRef"), ""))
	}
	if i.InitiatorName != nil && !isISCSIName(*i.InitiatorName) {
		errs = append(errs, field.Invalid(at.Child("initiatorName"), *i.InitiatorName, "must be valid format starting with iqn, eui, or naa"))
	}
	return append(errs, optionalSecretRef(at.Child("secretRef"), i.SecretRef)...)
}

// isISCSIName knows the three name types of RFC 3720 and RFC 3980 by their beginnings.
func isISCSIName(name string) bool {
	return strings.HasPrefix(name, "iqn.") || strings.HasPrefix(name, "eui.") || strings.HasPrefix(name, "naa.")
}

func fibreChannel(at *field.Path, fc *corev1.FCVolumeSource) field.ErrorList {
	byTarget, byWWID := len(fc.TargetWWNs) > 0, len(fc.WWIDs) > 0
	switch {
	case !byTarget && !byWWID:
		return field.ErrorList{field.Required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both")}
	case byTarget && byWWID:
		return field.ErrorList{field.Invalid(at.Child("targetWWNs"), fc.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")}
	case byTarget && fc.Lun == nil:
		return field.ErrorList{field.Required(at.Child("lun"), "lun is required if targetWWNs is specified")}
	case byTarget:
		return oneByte(at.Child("lun"), *fc.Lun)
	}
	return nil
}

func quobyte(at *field.Path, q *corev1.QuobyteVolumeSource) field.ErrorList {
	var errs field.ErrorList
	if q.Registry == "" {
		errs = append(errs, field.Required(at.Child("registry"), "must be a host:port pair or multiple pairs separated by commas"))
	}
	for pair := range strings.SplitSeq(q.Registry, ",") {
		if host, port, ok := strings.Cut(pair, ":"); q.Registry != "" && (!ok || host == "" || port == "") {
			errs = append(errs, field.Invalid(at.Child("registry"), q.Registry, "must be a host:port pair or multiple pairs separated by commas"))
		}
	}
	if len(q.Tenant) >= 65 {
		errs = append(errs, field.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	}
	return append(errs, required(at.Child("volume"), q.Volume)...)
}

func flocker(at *field.Path, f *corev1.FlockerVolumeSource) field.ErrorList {
	switch {
	case f.DatasetName == "" && f.DatasetUUID == "":
		return field.ErrorList{field.Required(at, "one of datasetName and datasetUUID is required")}
	case f.DatasetName != "" && f.DatasetUUID != "":
		return field.ErrorList{field.Invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously")}
	}
	if strings.Contains(f.DatasetName, "/") {
		return field.ErrorList{field.Invalid(at.Child("datasetName"), f.DatasetName, "must not contain '/'")}
	}
	return nil
}

func storageOS(at *field.Path, s *corev1.StorageOSVolumeSource) field.ErrorList {
	errs := requiredLabel(at.Child("volumeName"), s.VolumeName)
	if s.VolumeNamespace != "" {
		errs = append(errs, dnsLabel(at.Child("volumeNamespace"), s.VolumeNamespace)...)
	}
	return append(errs, optionalSecretRef(at.Child("secretRef"), s.SecretRef)...)
}

func azureDisk(at *field.Path, d *corev1.AzureDiskVolumeSource) field.ErrorList {
	errs := required(at.Child("diskName"), d.DiskName)
	errs = append(errs, required(at.Child("diskURI"), d.DataDiskURI)...)
	errs = append(errs, optionalOneOf(at.Child("cachingMode"), d.CachingMode,
		corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)...)
	errs = append(errs, optionalOneOf(at.Child("kind"), d.Kind, corev1.AzureSharedBlobDisk, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk)...)
	if d.Kind == nil || d.DataDiskURI == "" {
		return errs
	}
	// A managed disk is named by its resource, a blob by its address.
	managed := *d.Kind == corev1.AzureManagedDisk
	switch {
	case managed && !strings.HasPrefix(d.DataDiskURI, "/"):
		errs = append(errs, field.NotSupported(at.Child("diskURI"), d.DataDiskURI, []string{"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"}))
	case !managed && !strings.HasPrefix(d.DataDiskURI, "https://"):
		errs = append(errs, field.NotSupported(at.Child("diskURI"), d.DataDiskURI, []string{"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"}))
	}
	return errs
}

func flexVolume(at *field.Path, f *corev1.FlexVolumeSource) field.ErrorList {
	errs := required(at.Child("driver"), f.Driver)
	for _, key := range sortedKeys(f.Options) {
		// These domains' options are the node's own words to the driver.
		domain, _, _ := strings.Cut(key, "/")
		for _, reserved := range []string{"kubernetes.io", "k8s.io"} {
			if domain == reserved || strings.HasSuffix(domain, "."+reserved) {
				errs = append(errs, field.Invalid(at.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved"))
			}
		}
	}
	return errs
}

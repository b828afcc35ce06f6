package pv

import (
	"crypto/sha256"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"
)

// Hold is what nodes wait for before they use a volume.
type Hold string

// A volume that needs more than to be mounted.
const (
	Free     Hold = ""         // nothing: it can be mounted anywhere at any time
	Granted  Hold = "granted"  // the cluster's word that no other node has it
	Attached Hold = "attached" // that its driver has attached it
)

// HoldOf says what nodes wait for. driver is the CSIDriver of the volume's driver; nil if there is none.
func HoldOf(v *corev1.PersistentVolume, driver *storagev1.CSIDriver) Hold {
	s := &v.Spec
	switch {
	case s.CSI != nil && (driver == nil || ptr.Deref(driver.Spec.AttachRequired, true)):
		return Attached
	case s.CSI == nil && s.NFS == nil && s.ISCSI == nil, s.NodeAffinity != nil && s.CSI == nil, !Once(v):
		return Free // it is on the node's own disk, or several nodes may write to it
	}
	return Granted
}

// Once says that at most one node may write to a volume.
func Once(v *corev1.PersistentVolume) bool {
	return len(v.Spec.AccessModes) > 0 && !slices.Contains(v.Spec.AccessModes, corev1.ReadWriteMany) && !OnlyRead(v)
}

// OnlyRead says that all that a volume promises is to be read.
func OnlyRead(v *corev1.PersistentVolume) bool {
	return !slices.ContainsFunc(v.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool { return m != corev1.ReadOnlyMany })
}

// UniqueName is a volume's name in the status of Nodes: in volumesInUse, which the node writes, and volumesAttached, which the control plane does.
func UniqueName(v *corev1.PersistentVolume) corev1.UniqueVolumeName {
	if s := v.Spec.CSI; s != nil {
		return CSIName(s.Driver, s.VolumeHandle)
	}
	return corev1.UniqueVolumeName("gitopsd.io/" + v.Name)
}

// CSIName is the name of a CSI driver's volume in the status of Nodes.
func CSIName(driver, handle string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + driver + "^" + handle)
}

// AttachmentName names the VolumeAttachment of a volume and a node, as those who attach volumes and those who wait for it agree on.
func AttachmentName(driver, handle, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(handle+driver+node)))
}

// ClaimOf names the claim of a Pod's volume; empty if it has none.
func ClaimOf(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

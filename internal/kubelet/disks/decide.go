package disks

import (
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// protection is the finalizer that stays on a volume while a claim has it.
const protection = "kubernetes.io/pv-protection"

// fate is what is to become of a volume's data.
type fate string

const (
	keep   fate = "keep"   // and see to it that it is as large as it says
	begin  fate = "begin"  // with a copy of other data
	take   fate = "take"   // it is a snapshot that is not there yet
	remove fate = "remove" // with the volume
	forget fate = "forget" // the volume goes, the data stays
)

// decide says what is to become of a volume's data.
func decide(v *corev1.PersistentVolume) fate {
	switch {
	case pv.Filling(v):
		return begin
	case v.DeletionTimestamp == nil || slices.Contains(v.Finalizers, protection) || !slices.Contains(v.Finalizers, pv.DataFinalizer) || v.Annotations[pv.AnnDone] != "":
		return keep
	case v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return remove
	}
	return forget
}

// decideSnapshot says what is to become of a snapshot's data.
func decideSnapshot(c *snapshotv1.VolumeSnapshotContent) fate {
	ready := c.Status != nil && ptr.Deref(c.Status.ReadyToUse, false)
	switch {
	case c.DeletionTimestamp == nil && !ready:
		return take
	case c.DeletionTimestamp == nil || !slices.Contains(c.Finalizers, pv.SnapshotFinalizer):
		return keep
	case c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete:
		return remove
	}
	return forget
}

// grown is a claim's status once its volume is as large as the volume says; nil if it says so already.
func grown(claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) *corev1.PersistentVolumeClaimStatus {
	size := v.Spec.Capacity.Storage()
	if v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != claim.UID || claim.Status.Phase != corev1.ClaimBound || claim.Status.Capacity.Storage().Cmp(*size) >= 0 {
		return nil
	}
	s := claim.Status.DeepCopy()
	s.Capacity[corev1.ResourceStorage] = size.DeepCopy()
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimFileSystemResizePending || c.Type == corev1.PersistentVolumeClaimResizing
	})
	delete(s.AllocatedResourceStatuses, corev1.ResourceStorage) // a resizer's note that it was the node's turn
	return s
}

// changedMuch says whether what was said of the room is worth correcting: another path, or one hundredth of the room.
func changedMuch(said, now pv.Room) bool {
	return said.Path != now.Path || max(said.Bytes-now.Bytes, now.Bytes-said.Bytes) > said.Bytes/100
}

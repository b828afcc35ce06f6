// Package disks looks after the volumes on the node's own disk, as the API has them.
//
// In: the PersistentVolumes and VolumeSnapshotContents that carry the node's label, and Pods that need one. Out: data made, copied, grown and removed (package disk does that), what became of it in the
// objects' annotations, finalizers and claims' status, Events, how much room there is, and figures of how full volumes are.
//
// Volumes that are on the disk and that the cluster does not know, as after the loss of its state, are brought back as PersistentVolumes for claims of the names that they
// were made for. Only after that the node says what room it has, so that nothing is made beside them. Data is removed for one reason: its PersistentVolume is being
// deleted, its policy is Delete, and no claim has it any more.
package disks

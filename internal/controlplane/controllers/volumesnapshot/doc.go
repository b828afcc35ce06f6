// Package volumesnapshot is the control plane's part of snapshots of the built-in class: VolumeSnapshots, as snapshot.storage.k8s.io/v1 has them.
//
// In: VolumeSnapshots of claims on nodes' disks, the contents that nodes report on. Out: the definitions of the three kinds where they are missing, the
// VolumeSnapshotClass "local", a VolumeSnapshotContent for each snapshot, the snapshots' status, and contents deleted with them.
//
// It never touches data: the node takes and removes snapshots (package disk). It leaves alone what is another driver's: for those the CSI project's snapshot-controller
// and csi-snapshotter work on the same kinds.
package volumesnapshot

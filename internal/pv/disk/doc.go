// Package disk keeps volumes on a node's own disk: the data of the built-in storage class.
//
// In: PersistentVolumes of this node. Out: for each a directory, DIR/NAMESPACE/CLAIM-UID, with what an administrator may want to see:
//
//	volume.json   the PersistentVolume, as it was when the volume was made or last grown
//	disk.img      a file system of the volume's size, in a sparse file; what was never written takes no room
//	data/         where that is mounted: the files
//
// The size is a bound because the file system has that size. A volume may ask for a project quota of the disk's own file system instead: where that has them, data/ is a plain directory
// of a project of its own, and there is no disk.img. Where the host has no loop devices or no mkfs.ext4, data/ is a plain directory without a bound.
// A volume of the mode Block has no data/, and its loop device is given to the Pod.
//
// Snapshots are beside them, DIR/NAMESPACE/NAME-UID, with snapshot.json and snapshot.img, a copy of a disk.img; a volume may begin with one, or with another volume.
//
// Every step may be cut short by a crash and is completed by the next call: a file system is made under another name and renamed, and volume.json comes last.
// Nothing is deleted but by Remove, and nothing that was there is ever made anew: a directory that is gone is an error (ErrGone), not an empty volume.
package disk

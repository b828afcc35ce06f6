// Package iscsi brings disks of iSCSI targets to this node, through the host's own initiator (iscsiadm and iscsid, package open-iscsi).
//
// In: a target, its portals and secrets, and where a Pod's volume is to be. Out: a block device.
//
// Nothing is discovered: a volume names its target, so its record is made as it says, under which iscsid keeps the session. A target's session is one for all its disks on this node:
// it is ended with the last volume that a record, NAME.iscsi beside the volume, tells of, whatever crashed meanwhile.
// It never formats or mounts, and never looks whether another node has the disk.
package iscsi

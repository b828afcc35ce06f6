// Package attachdetach says which node may use which network volume.
//
// In: Pods with a node, their claims and volumes, CSIDrivers, VolumeAttachments, and what Nodes say that they use. Out: VolumeAttachments, which drivers' own attachers
// carry out, and in each Node's status the volumes that it may mount (volumesAttached).
//
// A volume that one node may write to is never listed at two Nodes, nor attached to two. It is taken from a node in this order: the Node's status does not list it any more;
// the same status, which the node writes too, does not say that it is in use; the attachment is deleted; another node gets it. As both are fields of one object, a node
// that begins to use it in between is seen. Time alone takes nothing away: a node that is not heard of keeps what it uses until it is deleted or somebody declares it
// out of service (the taint node.kubernetes.io/out-of-service), for nothing else tells that it does not write.
//
// It never mounts, and never talks to a driver.
package attachdetach

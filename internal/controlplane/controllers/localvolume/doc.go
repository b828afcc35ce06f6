// Package localvolume is the built-in provisioner, gitopsd.io/local: volumes on the disk of the node that the scheduler has chosen for a claim's first Pod.
//
// In: claims that wait for this provisioner, its volumes, storage classes, and what Nodes say of the room that they have. Out: the StorageClass "local", volumes made,
// grown and deleted as objects, CSIStorageCapacities for the scheduler, and Events.
//
// It never touches data: the node makes a volume's directory when a Pod first needs it, and removes it when the PersistentVolume is being deleted and no claim has
// it (package disk). The finalizer gitopsd.io/volume-data waits for that.
package localvolume

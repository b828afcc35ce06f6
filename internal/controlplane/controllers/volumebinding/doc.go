// Package volumebinding gives PersistentVolumeClaims their PersistentVolumes, and says of both where they stand.
//
// In: claims, volumes, storage classes, and the Pods that wait for a claim. Out: claims and volumes that name each other, their phases, and Events that say what a
// claim waits for. A pair is written in this order: the volume names the claim, the claim names the volume; whoever dies in between leaves what the next look
// completes or undoes.
//
// Where a class waits for the first consumer, the scheduler chooses (package scheduler): it names the claim in a volume, or a node at the claim. Volumes are made and
// deleted by provisioners: for those of the nodes' own disks that is package localvolume. This package never touches data; the one thing of it that leads to data
// being deleted, the phase Released, is written only after the API itself has said that the claim is gone.
package volumebinding

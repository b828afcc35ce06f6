// Package pv is what the parts that deal with persistent volumes agree on: the driver that is built in, the volumes that it makes on nodes' own disks, and which
// storage class is the default one.
//
// In: storage classes, claims, nodes, volumes. Out: volumes as objects, and what a volume says of itself. It is pure: binding and provisioning are controllers
// (volumebinding, localvolume), and the data is in the hands of the node daemon (package disk).
package pv

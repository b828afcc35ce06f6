// Package csidriver is a storage driver for tests, on the libraries of the Container Storage Interface: volumes are directories and files below one folder, mounted by bind
// mounts and loop devices. It serves all three services of the interface and registers at a node by itself, so it takes the place of the CSI project's
// host-path driver and of its registrar; the project's provisioner, attacher and resizer run beside it unchanged.
//
// Its state is files, so that several processes (one on each node, one beside the controllers) act as one driver on one host. A file faults/CALL in its folder has
// that call go wrong: "hang", "lie" (it says that it has done what it has not), or the text of an error.
package csidriver

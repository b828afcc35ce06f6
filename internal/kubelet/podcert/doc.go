// Package podcert gets certificates for Pods: a key made on the node, and a chain that a signer of the cluster issued for it.
//
// In: a Pod's podCertificate volume sources, the PodCertificateRequests that answer them, the credential that the volume holds already. Out:
// PodCertificateRequests with proof of possession of the key, the credential to be written, and a call when an answer came.
//
// Keys never leave the node and are kept in memory and in the Pod's volume (a memory file system) only. A node daemon that starts again goes on
// with the credentials in the volumes. What comes next for a credential is decided in decide.go, purely.
package podcert

// Package podresources tells programs of the node which devices and processors its containers have: the PodResources API of Kubernetes (k8s.io/kubelet/pkg/apis/podresources), by which
// exporters of GPU figures know whose a device is.
//
// In: the node's Pods, and what containers were given (devices, dra, cpuset). Out: a gRPC service at a socket that only root may open; v1, and of v1alpha1 the list, which older exporters
// ask for. It changes nothing.
package podresources

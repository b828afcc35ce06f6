// Package dra has drivers of devices get ready what Pods' ResourceClaims were given (dynamic resource allocation, KEP-4381): the gRPC API k8s.io/kubelet/pkg/apis/dra/v1.
//
// In: drivers, which register as plugins of the node; Pods with claims. Out: for each container the devices of the claims that it names, by their CDI names (grant.Grant).
//
// A claim is made ready before the first container of a Pod is created, and undone when the last Pod of the node that uses it is torn down. What was asked of drivers is in a file in the Pod's
// directory before it is asked, so that another process can undo it. The choice of devices is the scheduler's.
package dra

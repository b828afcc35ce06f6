// Package devices gives containers devices that plugins of the node have: the device plugin API of Kubernetes, v1beta1 (k8s.io/kubelet/pkg/apis/deviceplugin).
//
// In: plugins, which register at a socket; Pods that ask for their resources. Out: how many devices of each resource the Node has, and for each container which ones are
// its own and what its plugin says it needs for them (grant.Grant).
//
// Which devices a Pod gets is decided when it comes (Assign, pure); those held are known to this process and, once the plugin has been asked, by a file in the Pod's directory, so
// that another process finds them. A plugin may come and go at any time: what runs keeps its devices; what starts waits for the plugin.
package devices

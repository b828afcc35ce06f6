package defaults

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// SetEndpointSlice completes an EndpointSlice: a port without a name has the empty one, and speaks TCP.
func SetEndpointSlice(obj *discoveryv1.EndpointSlice) {
	for i := range obj.Ports {
		setIfNil(&obj.Ports[i].Name, "")
		setIfNil(&obj.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}

package defaults

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SetNamespace completes a Namespace. Its name is a label, too, so that selectors of namespaces can name a single one; nobody can set that otherwise. One whose name
// is yet to be generated gets it when it has a name.
func SetNamespace(obj *corev1.Namespace) {
	setIfZero(&obj.Status.Phase, corev1.NamespaceActive)
	if obj.Name == "" {
		return
	}
	if obj.Labels == nil {
		obj.Labels = map[string]string{}
	}
	obj.Labels[corev1.LabelMetadataName] = obj.Name
}

// SetNode completes a Node: all of its capacity can be allocated when the node says nothing else.
func SetNode(obj *corev1.Node) {
	if obj.Status.Allocatable == nil && obj.Status.Capacity != nil {
		obj.Status.Allocatable = obj.Status.Capacity.DeepCopy()
	}
	roundUpResources(obj.Status.Capacity)
	roundUpResources(obj.Status.Allocatable)
}

// SetSecret completes a Secret. Its write-only stringData is merged into data by the registry, not here: reading has none.
func SetSecret(obj *corev1.Secret) {
	setIfZero(&obj.Type, corev1.SecretTypeOpaque)
}

// SetService completes a Service. What must be allocated, and the IP families that go with it, is not set here.
func SetService(obj *corev1.Service) {
	spec := &obj.Spec
	setIfZero(&spec.Type, corev1.ServiceTypeClusterIP)
	setSessionAffinity(spec)
	for i := range spec.Ports {
		port := &spec.Ports[i]
		setIfZero(&port.Protocol, corev1.ProtocolTCP)
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	if externallyReachable(spec) {
		setIfZero(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	switch spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		setIfNil(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		setIfNil(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range obj.Status.LoadBalancer.Ingress {
			// Only an address can be a virtual IP; a host name says nothing about how packets arrive.
			if ingress := &obj.Status.LoadBalancer.Ingress[i]; ingress.IP != "" {
				setIfNil(&ingress.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

func setSessionAffinity(spec *corev1.ServiceSpec) {
	setIfZero(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if spec.SessionAffinityConfig == nil {
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{}
		}
		if spec.SessionAffinityConfig.ClientIP == nil {
			spec.SessionAffinityConfig.ClientIP = &corev1.ClientIPConfig{}
		}
		setIfNil(&spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
}

// externallyReachable says whether nodes accept traffic for the Service from outside the cluster.
func externallyReachable(spec *corev1.ServiceSpec) bool {
	switch spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(spec.ExternalIPs) > 0
	}
	return false
}

// SetTokenRequest completes a TokenRequest: a token lives one hour unless the client asks for another time.
func SetTokenRequest(obj *authenticationv1.TokenRequest) {
	setIfNil(&obj.Spec.ExpirationSeconds, int64(60*60))
}

// roundUpResources rounds amounts finer than a thousandth up to the next one, which is the finest that the API promises to keep.
func roundUpResources(list corev1.ResourceList) {
	for name, amount := range list {
		if amount.RoundUp(resource.Milli) {
			continue // exact already
		}
		list[name] = amount
	}
}

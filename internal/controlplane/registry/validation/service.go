package validation

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// kubeletPort is where every node answers the control plane: a load balancer in front of it would offer it to the world.
const kubeletPort = 10250

// maxClientIPAffinitySeconds is one day.
const maxClientIPAffinitySeconds = 24 * 60 * 60

// Service says what may be created. Cluster IPs and node ports may be missing: they are allocated elsewhere.
func Service(obj *corev1.Service) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dns1035LabelName)
	return append(errs, serviceSpec(&obj.Spec)...)
}

func serviceSpec(spec *corev1.ServiceSpec) field.ErrorList {
	errs := servicePorts(specPath.Child("ports"), spec)
	errs = append(errs, metav1validation.ValidateLabels(spec.Selector, specPath.Child("selector"))...)
	errs = append(errs, serviceType(specPath, spec)...)
	errs = append(errs, sessionAffinity(specPath, spec)...)
	errs = append(errs, serviceAddresses(specPath, spec)...)
	errs = append(errs, loadBalancer(specPath, spec)...)
	return append(errs, trafficPolicies(specPath, spec)...)
}

func servicePorts(at *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	if len(spec.Ports) == 0 && spec.ClusterIP != corev1.ClusterIPNone && spec.Type != corev1.ServiceTypeExternalName {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	type port struct {
		protocol corev1.Protocol
		number   int32
	}
	names, ports, nodePorts := map[string]bool{}, map[port]bool{}, map[port]bool{}
	for i := range spec.Ports {
		p, at := &spec.Ports[i], at.Index(i)
		errs = append(errs, servicePort(at, p, len(spec.Ports) > 1)...)
		if p.Name != "" && names[p.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		names[p.Name] = true
		if key := (port{p.Protocol, p.Port}); ports[key] {
			errs = append(errs, field.Duplicate(at, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		} else {
			ports[key] = true
		}
		if p.NodePort == 0 {
			continue
		}
		if spec.Type == corev1.ServiceTypeClusterIP || spec.Type == corev1.ServiceTypeExternalName {
			errs = append(errs, field.Forbidden(at.Child("nodePort"), fmt.Sprintf("may not be used when `type` is '%s'", spec.Type)))
		}
		if key := (port{p.Protocol, p.NodePort}); nodePorts[key] {
			errs = append(errs, field.Duplicate(at.Child("nodePort"), p.NodePort))
		} else {
			nodePorts[key] = true
		}
	}
	return errs
}

func servicePort(at *field.Path, p *corev1.ServicePort, oneOfMany bool) field.ErrorList {
	var errs field.ErrorList
	if p.Name != "" {
		errs = append(errs, dnsLabel(at.Child("name"), p.Name)...)
	} else if oneOfMany {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	errs = append(errs, portNumber(at.Child("port"), p.Port)...)
	errs = append(errs, requiredOneOf(at.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	errs = append(errs, portOrName(at.Child("targetPort"), p.TargetPort)...)
	if p.AppProtocol != nil {
		errs = append(errs, qualifiedName(at.Child("appProtocol"), *p.AppProtocol)...)
	}
	if p.NodePort < 0 || p.NodePort > 65535 {
		errs = append(errs, portNumber(at.Child("nodePort"), p.NodePort)...)
	}
	return errs
}

func serviceType(at *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	errs := requiredOneOf(at.Child("type"), spec.Type,
		corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	switch spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		if spec.ClusterIP == corev1.ClusterIPNone {
			errs = append(errs, field.Invalid(at.Child("clusterIPs").Index(0), corev1.ClusterIPNone, fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
		for i := range spec.Ports {
			if spec.Type == corev1.ServiceTypeLoadBalancer && spec.Ports[i].Port == kubeletPort {
				errs = append(errs, field.Invalid(at.Child("ports").Index(i), spec.Ports[i].Port, fmt.Sprintf("may not expose port %v externally since it is used by kubelet", kubeletPort)))
			}
		}
	case corev1.ServiceTypeExternalName:
		// The alternative to an address of the Service's own.
		if spec.ClusterIP != "" || len(spec.ClusterIPs) > 0 {
			errs = append(errs, field.Forbidden(at.Child("clusterIPs"), "may not be set for ExternalName services"))
		}
		if len(spec.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(at.Child("ipFamilies"), "may not be set for ExternalName services"))
		}
		if spec.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(at.Child("ipFamilyPolicy"), "may not be set for ExternalName services"))
		}
		// A trailing dot only says that the name is complete.
		if name := strings.TrimSuffix(spec.ExternalName, "."); name == "" {
			errs = append(errs, field.Required(at.Child("externalName"), ""))
		} else {
			errs = append(errs, invalid(at.Child("externalName"), name, validation.IsDNS1123Subdomain(name))...)
		}
	}
	return errs
}

func sessionAffinity(at *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	errs := requiredOneOf(at.Child("sessionAffinity"), spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	at = at.Child("sessionAffinityConfig")
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if spec.SessionAffinityConfig != nil {
			errs = append(errs, field.Forbidden(at, "must not be set when session affinity is None"))
		}
	case corev1.ServiceAffinityClientIP:
		config := spec.SessionAffinityConfig
		switch {
		case config == nil:
			errs = append(errs, field.Required(at, "when session affinity type is ClientIP"))
		case config.ClientIP == nil:
			errs = append(errs, field.Required(at.Child("clientIP"), "when session affinity type is ClientIP"))
		case config.ClientIP.TimeoutSeconds == nil:
			errs = append(errs, field.Required(at.Child("clientIP", "timeoutSeconds"), "when session affinity type is ClientIP"))
		default:
			if s := *config.ClientIP.TimeoutSeconds; s <= 0 || s > maxClientIPAffinitySeconds {
				errs = append(errs, field.Invalid(at.Child("clientIP", "timeoutSeconds"), s, fmt.Sprintf("must be greater than 0 and less than %d", maxClientIPAffinitySeconds)))
			}
		}
	}
	return errs
}

func loadBalancer(at *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	is := spec.Type == corev1.ServiceTypeLoadBalancer
	const only = "may only be used when `type` is 'LoadBalancer'"
	ranges := at.Child("loadBalancerSourceRanges")
	if len(spec.LoadBalancerSourceRanges) > 0 && !is {
		errs = append(errs, field.Forbidden(ranges, only))
	}
	for i, cidr := range spec.LoadBalancerSourceRanges {
		errs = append(errs, validation.IsValidCIDRForLegacyField(ranges.Index(i), strings.TrimSpace(cidr), true, nil)...)
	}
	if class := spec.LoadBalancerClass; class != nil {
		if !is {
			errs = append(errs, field.Forbidden(at.Child("loadBalancerClass"), only))
		}
		errs = append(errs, qualifiedName(at.Child("loadBalancerClass"), *class)...)
	}
	switch allocate := at.Child("allocateLoadBalancerNodePorts"); {
	case is && spec.AllocateLoadBalancerNodePorts == nil:
		errs = append(errs, field.Required(allocate, ""))
	case !is && spec.AllocateLoadBalancerNodePorts != nil:
		errs = append(errs, field.Forbidden(allocate, only))
	}
	return errs
}

func trafficPolicies(at *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	external := at.Child("externalTrafficPolicy")
	reachable := spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer ||
		spec.Type == corev1.ServiceTypeClusterIP && len(spec.ExternalIPs) > 0
	switch {
	case reachable:
		errs = append(errs, requiredOneOf(external, spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	case spec.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(external, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	if spec.HealthCheckNodePort != 0 {
		// With the policy Cluster every node is as good as the next, and there is nothing to ask it.
		health := at.Child("healthCheckNodePort")
		if spec.Type != corev1.ServiceTypeLoadBalancer || spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			errs = append(errs, field.Invalid(health, spec.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
		} else {
			errs = append(errs, portNumber(health, spec.HealthCheckNodePort)...)
		}
	}
	inner := at.Child("internalTrafficPolicy")
	if spec.InternalTrafficPolicy != nil {
		errs = append(errs, oneOf(inner, *spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	} else if spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(inner, ""))
	}
	return append(errs, optionalOneOf(at.Child("trafficDistribution"), spec.TrafficDistribution,
		corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameNode, corev1.ServiceTrafficDistributionPreferSameZone)...)
}

// routableIP refuses addresses that no other machine can be reached at: a Service that claimed one could take over what
// listens there on each node.
func routableIP(at *field.Path, value string) field.ErrorList {
	ip, err := netip.ParseAddr(value)
	if err != nil {
		return field.ErrorList{field.Invalid(at, value, "must be a valid IP address")}
	}
	switch {
	case ip.IsUnspecified():
		return field.ErrorList{field.Invalid(at, value, fmt.Sprintf("may not be unspecified (%s)", ip))}
	case ip.IsLoopback():
		return field.ErrorList{field.Invalid(at, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")}
	case ip.IsLinkLocalUnicast():
		return field.ErrorList{field.Invalid(at, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")}
	case ip.IsLinkLocalMulticast():
		return field.ErrorList{field.Invalid(at, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")}
	}
	return nil
}

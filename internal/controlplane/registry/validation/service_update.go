package validation

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ServiceUpdate says what a Service may be replaced with. Clients connect to its addresses, so those stay, except that a
// secondary family may come and go, and that a Service may become or stop being an alias.
func ServiceUpdate(obj, old *corev1.Service) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	if obj.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, clusterIPUpdate(&obj.Spec, &old.Spec)...)
		errs = append(errs, ipFamilyUpdate(&obj.Spec, &old.Spec)...)
	}
	if old.Spec.Type == corev1.ServiceTypeLoadBalancer && obj.Spec.Type == corev1.ServiceTypeLoadBalancer {
		class, oldClass := obj.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass
		if (class == nil) != (oldClass == nil) || class != nil && *class != *oldClass {
			errs = append(errs, field.Invalid(specPath.Child("loadBalancerClass"), class, "may not change once set"))
		}
	}
	if needsHealthCheck(&obj.Spec) && needsHealthCheck(&old.Spec) && old.Spec.HealthCheckNodePort != 0 && obj.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(specPath.Child("healthCheckNodePort"), fieldIsImmutable))
	}
	return append(errs, serviceSpec(&obj.Spec)...)
}

func needsHealthCheck(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeLoadBalancer && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func clusterIPUpdate(spec, old *corev1.ServiceSpec) field.ErrorList {
	at := specPath.Child("clusterIPs")
	if len(old.ClusterIPs) == 0 {
		return nil // not allocated yet
	}
	if len(spec.ClusterIPs) == 0 {
		return field.ErrorList{field.Invalid(at.Index(0), spec.ClusterIPs, "primary clusterIP can not be unset")}
	}
	if spec.ClusterIPs[0] != old.ClusterIPs[0] {
		return field.ErrorList{field.Invalid(at.Index(0), spec.ClusterIPs[0], "may not change once set")}
	}
	if len(old.ClusterIPs) < 2 {
		return nil
	}
	single := spec.IPFamilyPolicy != nil && *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	switch {
	case len(spec.ClusterIPs) < 2:
		if !single {
			return field.ErrorList{field.Invalid(at.Index(1), nil, "secondary clusterIP can not be unset without changing to SingleStack")}
		}
	case spec.ClusterIPs[1] != old.ClusterIPs[1]:
		return field.ErrorList{field.Invalid(at.Index(1), spec.ClusterIPs[1], "may not change once set")}
	}
	return nil
}

func ipFamilyUpdate(spec, old *corev1.ServiceSpec) field.ErrorList {
	at := specPath.Child("ipFamilies")
	if len(old.IPFamilies) == 0 {
		return nil
	}
	if len(spec.IPFamilies) == 0 {
		return field.ErrorList{field.Invalid(at.Index(0), spec.IPFamilies, "primary ipFamily can not be unset")}
	}
	if spec.IPFamilies[0] != old.IPFamilies[0] {
		return field.ErrorList{field.Invalid(at.Index(0), spec.IPFamilies[0], "may not change once set")}
	}
	return nil
}

// ServiceStatusUpdate says what a load balancer may report.
func ServiceStatusUpdate(obj, old *corev1.Service) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	at := statusPath.Child("loadBalancer", "ingress")
	if obj.Spec.Type != corev1.ServiceTypeLoadBalancer && len(obj.Status.LoadBalancer.Ingress) > 0 && len(old.Status.LoadBalancer.Ingress) == 0 {
		return append(errs, field.Forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'"))
	}
	for i, ingress := range obj.Status.LoadBalancer.Ingress {
		at := at.Index(i)
		if ingress.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), ingress.IP, true, nil)...)
			if ingress.IPMode == nil {
				errs = append(errs, field.Required(at.Child("ipMode"), "must be specified when `ip` is set"))
			}
		} else if ingress.IPMode != nil {
			errs = append(errs, field.Forbidden(at.Child("ipMode"), "may not be specified when `ip` is not set"))
		}
		errs = append(errs, optionalOneOf(at.Child("ipMode"), ingress.IPMode, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy)...)
		if ingress.Hostname != "" {
			errs = append(errs, dnsSubdomain(at.Child("hostname"), ingress.Hostname)...)
			if _, err := netip.ParseAddr(ingress.Hostname); err == nil {
				errs = append(errs, field.Invalid(at.Child("hostname"), ingress.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}

package validation

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// oldIngressClass is the annotation that named an Ingress's class before spec.ingressClassName did.
const oldIngressClass = "kubernetes.io/ingress.class"

// maxIngressController is how long the name of an ingress controller may be.
const maxIngressController = 250

// Ingress says what may be created.
func Ingress(obj *networkingv1.Ingress) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, ingressSpec(&obj.Spec)...)
	if class, ok := obj.Annotations[oldIngressClass]; ok && obj.Spec.IngressClassName != nil && class != *obj.Spec.IngressClassName {
		errs = append(errs, field.Invalid(field.NewPath("annotations").Child(oldIngressClass), class, "must match `ingressClassName` when both are specified"))
	}
	return errs
}

// IngressUpdate says what an Ingress may be replaced with.
func IngressUpdate(obj, old *networkingv1.Ingress) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), ingressSpec(&obj.Spec)...)
}

func ingressSpec(spec *networkingv1.IngressSpec) field.ErrorList {
	var errs field.ErrorList
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(specPath, spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if spec.DefaultBackend != nil {
		errs = append(errs, ingressBackend(specPath.Child("defaultBackend"), spec.DefaultBackend)...)
	}
	for i := range spec.Rules {
		errs = append(errs, ingressRule(specPath.Child("rules").Index(i), &spec.Rules[i])...)
	}
	for i, tls := range spec.TLS {
		at := specPath.Child("tls").Index(i)
		for j, host := range tls.Hosts {
			errs = append(errs, hostOrWildcard(at.Child("hosts").Index(j), host)...)
		}
		if tls.SecretName != "" {
			errs = append(errs, dnsSubdomain(at.Child("secretName"), tls.SecretName)...)
		}
	}
	if spec.IngressClassName != nil {
		errs = append(errs, dnsSubdomain(specPath.Child("ingressClassName"), *spec.IngressClassName)...)
	}
	return errs
}

func hostOrWildcard(at *field.Path, host string) field.ErrorList {
	if strings.Contains(host, "*") {
		return invalid(at, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return dnsSubdomain(at, host)
}

func ingressRule(at *field.Path, rule *networkingv1.IngressRule) field.ErrorList {
	var errs field.ErrorList
	if rule.Host != "" {
		if isIP(rule.Host) {
			errs = append(errs, field.Invalid(at.Child("host"), rule.Host, "must be a DNS name, not an IP address"))
		}
		errs = append(errs, hostOrWildcard(at.Child("host"), rule.Host)...)
	}
	if rule.HTTP == nil {
		return errs
	}
	at = at.Child("http", "paths")
	if len(rule.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	for i := range rule.HTTP.Paths {
		errs = append(errs, ingressPath(at.Index(i), &rule.HTTP.Paths[i])...)
	}
	return errs
}

func isIP(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// ingressPath wants a path that is compared by elements to have no elements that proxies take away before they compare.
func ingressPath(at *field.Path, p *networkingv1.HTTPIngressPath) field.ErrorList {
	if p.PathType == nil {
		return field.ErrorList{field.Required(at.Child("pathType"), "pathType must be specified")}
	}
	var errs field.ErrorList
	path := at.Child("path")
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(path, p.Path, "must be an absolute path"))
		}
		for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, part) {
				errs = append(errs, field.Invalid(path, p.Path, "must not contain '"+part+"'"))
			}
		}
		for _, end := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, end) {
				errs = append(errs, field.Invalid(path, p.Path, "cannot end with '"+end+"'"))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(path, p.Path, "must be an absolute path"))
		}
	default:
		errs = append(errs, oneOf(at.Child("pathType"), *p.PathType, networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific)...)
	}
	return append(errs, ingressBackend(at.Child("backend"), &p.Backend)...)
}

func ingressBackend(at *field.Path, b *networkingv1.IngressBackend) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return localReference(at.Child("resource"), b.Resource)
	case b.Service == nil:
		return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
	}
	var errs field.ErrorList
	service := at.Child("service")
	if b.Service.Name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	} else {
		errs = append(errs, invalid(service.Child("name"), b.Service.Name, dnsLabelName(b.Service.Name, false))...)
	}
	switch port := b.Service.Port; {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case port.Name != "":
		errs = append(errs, invalid(service.Child("port", "name"), port.Name, validation.IsValidPortName(port.Name))...)
	case port.Number != 0:
		errs = append(errs, portNumber(service.Child("port", "number"), port.Number)...)
	default:
		errs = append(errs, field.Required(at, "port name or number is required"))
	}
	return errs
}

func localReference(at *field.Path, ref *corev1.TypedLocalObjectReference) field.ErrorList {
	var errs field.ErrorList
	if ref.APIGroup != nil {
		errs = append(errs, dnsSubdomain(at.Child("apiGroup"), *ref.APIGroup)...)
	}
	errs = append(errs, requiredSegment(at.Child("kind"), ref.Kind)...)
	return append(errs, requiredSegment(at.Child("name"), ref.Name)...)
}

// requiredSegment wants what can stand between two slashes of a URL.
func requiredSegment(at *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return invalid(at, value, pathSegmentName(value, false))
}

// IngressStatusUpdate says what an ingress controller may report.
func IngressStatusUpdate(obj, old *networkingv1.Ingress) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	for i, ingress := range obj.Status.LoadBalancer.Ingress {
		at := statusPath.Child("loadBalancer", "ingress").Index(i)
		if ingress.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), ingress.IP, true, nil)...)
		}
		if ingress.Hostname != "" {
			errs = append(errs, dnsSubdomain(at.Child("hostname"), ingress.Hostname)...)
			if isIP(ingress.Hostname) {
				errs = append(errs, field.Invalid(at.Child("hostname"), ingress.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}

// IngressClass says what may be created.
func IngressClass(obj *networkingv1.IngressClass) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	at := specPath.Child("controller")
	if len(obj.Spec.Controller) > maxIngressController {
		errs = append(errs, field.TooLong(at, "", maxIngressController))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(at, obj.Spec.Controller)...)
	if obj.Spec.Parameters == nil {
		return errs
	}
	return append(errs, ingressParameters(specPath.Child("parameters"), obj.Spec.Parameters)...)
}

func ingressParameters(at *field.Path, p *networkingv1.IngressClassParametersReference) field.ErrorList {
	errs := localReference(at, &corev1.TypedLocalObjectReference{APIGroup: p.APIGroup, Kind: p.Kind, Name: p.Name})
	if p.Scope == nil {
		return append(errs, field.Required(at.Child("scope"), ""))
	}
	const cluster, namespace = networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace
	errs = append(errs, oneOf(at.Child("scope"), *p.Scope, cluster, namespace)...)
	switch {
	case *p.Scope == namespace && p.Namespace == nil:
		errs = append(errs, field.Required(at.Child("namespace"), "`parameters.scope` is set to 'Namespace'"))
	case *p.Scope == namespace:
		errs = append(errs, invalid(at.Child("namespace"), *p.Namespace, dnsLabelName(*p.Namespace, false))...)
	case *p.Scope == cluster && p.Namespace != nil:
		errs = append(errs, field.Forbidden(at.Child("namespace"), "`parameters.scope` is set to 'Cluster'"))
	}
	return errs
}

// IngressClassUpdate says what an IngressClass may be replaced with. Its controller stays: Ingresses of the class are in its hands.
func IngressClassUpdate(obj, old *networkingv1.IngressClass) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, validateImmutable(obj.Spec.Controller, old.Spec.Controller, specPath.Child("controller"))...)
	return append(errs, IngressClass(obj)...)
}

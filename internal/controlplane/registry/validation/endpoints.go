package validation

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Endpoints says what may be created.
func Endpoints(obj *corev1.Endpoints) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, endpointsAnnotations(obj)...)
	return append(errs, endpointSubsets(field.NewPath("subsets"), obj.Subsets)...)
}

// EndpointsUpdate says what Endpoints may be replaced with. Subsets that were stored under older rules may stay as they are.
func EndpointsUpdate(obj, old *corev1.Endpoints) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, endpointsAnnotations(obj)...)
	if apiequality.Semantic.DeepEqual(obj.Subsets, old.Subsets) {
		return errs
	}
	return append(errs, endpointSubsets(field.NewPath("subsets"), obj.Subsets)...)
}

// endpointsAnnotations wants the time at which an endpoint changed, by which the latency of proxies is measured, to be one.
func endpointsAnnotations(obj *corev1.Endpoints) field.ErrorList {
	when, ok := obj.Annotations[corev1.EndpointsLastChangeTriggerTime]
	if !ok {
		return nil
	}
	if _, err := time.Parse(time.RFC3339Nano, when); err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("annotations").Key(corev1.EndpointsLastChangeTriggerTime), when, "must be a time in the form of RFC 3339")}
	}
	return nil
}

func endpointSubsets(at *field.Path, subsets []corev1.EndpointSubset) field.ErrorList {
	var errs field.ErrorList
	for i := range subsets {
		s, at := &subsets[i], at.Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, subsetAddress(at.Child("addresses").Index(j), &s.Addresses[j])...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, subsetAddress(at.Child("notReadyAddresses").Index(j), &s.NotReadyAddresses[j])...)
		}
		for j := range s.Ports {
			errs = append(errs, subsetPort(at.Child("ports").Index(j), &s.Ports[j], len(s.Ports) > 1)...)
		}
	}
	return errs
}

func subsetAddress(at *field.Path, a *corev1.EndpointAddress) field.ErrorList {
	errs := validation.IsValidIPForLegacyField(at.Child("ip"), a.IP, true, nil)
	if len(errs) == 0 {
		errs = routableIP(at.Child("ip"), a.IP)
	}
	if a.Hostname != "" {
		errs = append(errs, dnsLabel(at.Child("hostname"), a.Hostname)...)
	}
	if a.NodeName != nil {
		errs = append(errs, dnsSubdomain(at.Child("nodeName"), *a.NodeName)...)
	}
	return errs
}

func subsetPort(at *field.Path, p *corev1.EndpointPort, named bool) field.ErrorList {
	var errs field.ErrorList
	if named || p.Name != "" {
		errs = append(errs, requiredLabel(at.Child("name"), p.Name)...)
	}
	errs = append(errs, portNumber(at.Child("port"), p.Port)...)
	errs = append(errs, requiredOneOf(at.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	if p.AppProtocol != nil {
		errs = append(errs, qualifiedName(at.Child("appProtocol"), *p.AppProtocol)...)
	}
	return errs
}

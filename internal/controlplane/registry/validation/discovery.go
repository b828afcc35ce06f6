package validation

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits that the API documents: slices stay small, because each change of one endpoint sends a whole slice to every node.
const (
	maxEndpoints         = 1000
	maxEndpointAddresses = 100
	maxEndpointPorts     = 100
	maxEndpointTopology  = 16
	maxEndpointHints     = 8
)

// EndpointSlice says what may be created.
func EndpointSlice(obj *discoveryv1.EndpointSlice) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, endpointSliceContent(obj)...)
}

func endpointSliceContent(obj *discoveryv1.EndpointSlice) field.ErrorList {
	errs := requiredOneOf(field.NewPath("addressType"), obj.AddressType,
		discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	at := field.NewPath("endpoints")
	if n := len(obj.Endpoints); n > maxEndpoints {
		errs = append(errs, field.TooMany(at, n, maxEndpoints))
	} else {
		for i := range obj.Endpoints {
			errs = append(errs, endpoint(at.Index(i), &obj.Endpoints[i], obj.AddressType)...)
		}
	}
	return append(errs, endpointPorts(field.NewPath("ports"), obj.Ports)...)
}

func endpoint(at *field.Path, e *discoveryv1.Endpoint, addressType discoveryv1.AddressType) field.ErrorList {
	var errs field.ErrorList
	switch n := len(e.Addresses); {
	case n == 0:
		errs = append(errs, field.Required(at.Child("addresses"), "must contain at least 1 address"))
	case n > maxEndpointAddresses:
		errs = append(errs, field.TooMany(at.Child("addresses"), n, maxEndpointAddresses))
	}
	for i, address := range e.Addresses {
		errs = append(errs, endpointAddress(at.Child("addresses").Index(i), address, addressType)...)
	}
	if e.NodeName != nil {
		errs = append(errs, dnsSubdomain(at.Child("nodeName"), *e.NodeName)...)
	}
	if e.Hostname != nil {
		errs = append(errs, dnsLabel(at.Child("hostname"), *e.Hostname)...)
	}
	topology := at.Child("deprecatedTopology")
	if n := len(e.DeprecatedTopology); n > maxEndpointTopology {
		errs = append(errs, field.TooMany(topology, n, maxEndpointTopology))
	}
	errs = append(errs, metav1validation.ValidateLabels(e.DeprecatedTopology, topology)...)
	if _, ok := e.DeprecatedTopology[corev1.LabelHostname]; ok {
		errs = append(errs, field.Forbidden(topology.Key(corev1.LabelHostname), "topology keys `kubernetes.io/hostname` is not supported, use `nodeName` instead"))
	}
	if e.Hints != nil {
		errs = append(errs, endpointHints(at.Child("hints"), e.Hints)...)
	}
	return errs
}

func endpointAddress(at *field.Path, address string, addressType discoveryv1.AddressType) field.ErrorList {
	switch addressType {
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(at, address)
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		if errs := validation.IsValidIP(at, address); len(errs) > 0 {
			return errs
		}
		// Checked just above.
		if ip, err := netip.ParseAddr(address); err == nil && ip.Is4() != (addressType == discoveryv1.AddressTypeIPv4) {
			return field.ErrorList{field.Invalid(at, address, "must be an "+string(addressType)+" address")}
		}
		return routableIP(at, address)
	}
	return nil // the address type itself has been refused
}

func endpointHints(at *field.Path, hints *discoveryv1.EndpointHints) field.ErrorList {
	var errs field.ErrorList
	if n := len(hints.ForZones); n > maxEndpointHints {
		errs = append(errs, field.TooMany(at.Child("forZones"), n, maxEndpointHints))
	}
	zones := map[string]bool{}
	for i, zone := range hints.ForZones {
		at := at.Child("forZones").Index(i).Child("name")
		if zones[zone.Name] {
			errs = append(errs, field.Duplicate(at, zone.Name))
		}
		zones[zone.Name] = true
		if zone.Name == "" {
			errs = append(errs, field.Required(at, ""))
		} else {
			errs = append(errs, labelValue(at, zone.Name)...)
		}
	}
	if n := len(hints.ForNodes); n > maxEndpointHints {
		errs = append(errs, field.TooMany(at.Child("forNodes"), n, maxEndpointHints))
	}
	nodes := map[string]bool{}
	for i, node := range hints.ForNodes {
		at := at.Child("forNodes").Index(i).Child("name")
		if nodes[node.Name] {
			errs = append(errs, field.Duplicate(at, node.Name))
		}
		nodes[node.Name] = true
		errs = append(errs, dnsSubdomain(at, node.Name)...)
	}
	return errs
}

func endpointPorts(at *field.Path, ports []discoveryv1.EndpointPort) field.ErrorList {
	if n := len(ports); n > maxEndpointPorts {
		return field.ErrorList{field.TooMany(at, n, maxEndpointPorts)}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range ports {
		p, at := &ports[i], at.Index(i)
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if name != "" {
			errs = append(errs, dnsLabel(at.Child("name"), name)...)
		}
		if names[name] {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		}
		names[name] = true
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else {
			errs = append(errs, oneOf(at.Child("protocol"), *p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
		}
		if p.Port != nil {
			errs = append(errs, portNumber(at.Child("port"), *p.Port)...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, qualifiedName(at.Child("appProtocol"), *p.AppProtocol)...)
		}
	}
	return errs
}

// EndpointSliceUpdate says what an EndpointSlice may be replaced with.
func EndpointSliceUpdate(obj, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, endpointSliceContent(obj)...)
	return append(errs, validateImmutable(obj.AddressType, old.AddressType, field.NewPath("addressType"))...)
}

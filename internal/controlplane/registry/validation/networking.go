package validation

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var noOptions metav1validation.LabelSelectorValidationOptions

// NetworkPolicy says what may be created.
func NetworkPolicy(obj *networkingv1.NetworkPolicy) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, networkPolicySpec(&obj.Spec)...)
}

// NetworkPolicyUpdate says what a NetworkPolicy may be replaced with.
func NetworkPolicyUpdate(obj, old *networkingv1.NetworkPolicy) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), networkPolicySpec(&obj.Spec)...)
}

func networkPolicySpec(spec *networkingv1.NetworkPolicySpec) field.ErrorList {
	errs := metav1validation.ValidateLabelSelector(&spec.PodSelector, noOptions, specPath.Child("podSelector"))
	for i, rule := range spec.Ingress {
		at := specPath.Child("ingress").Index(i)
		errs = append(errs, policyPorts(at.Child("ports"), rule.Ports)...)
		errs = append(errs, policyPeers(at.Child("from"), rule.From)...)
	}
	for i, rule := range spec.Egress {
		at := specPath.Child("egress").Index(i)
		errs = append(errs, policyPorts(at.Child("ports"), rule.Ports)...)
		errs = append(errs, policyPeers(at.Child("to"), rule.To)...)
	}
	at := specPath.Child("policyTypes")
	if len(spec.PolicyTypes) > 2 {
		return append(errs, field.Invalid(at, spec.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range spec.PolicyTypes {
		errs = append(errs, oneOf(at.Index(i), t, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func policyPorts(at *field.Path, ports []networkingv1.NetworkPolicyPort) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		at := at.Index(i)
		errs = append(errs, optionalOneOf(at.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
		end := at.Child("endPort")
		switch {
		case p.Port == nil:
			if p.EndPort != nil {
				errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified"))
			}
			continue
		case p.EndPort != nil && p.Port.Type != intstr.Int:
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
		case p.EndPort != nil:
			if *p.EndPort < p.Port.IntVal {
				errs = append(errs, field.Invalid(end, *p.EndPort, "must be greater than or equal to `port`"))
			}
			errs = append(errs, portNumber(end, *p.EndPort)...)
		}
		errs = append(errs, portOrName(at.Child("port"), *p.Port)...)
	}
	return errs
}

func policyPeers(at *field.Path, peers []networkingv1.NetworkPolicyPeer) field.ErrorList {
	var errs field.ErrorList
	for i, p := range peers {
		at := at.Index(i)
		selected := p.PodSelector != nil || p.NamespaceSelector != nil
		errs = append(errs, metav1validation.ValidateLabelSelector(p.PodSelector, noOptions, at.Child("podSelector"))...)
		errs = append(errs, metav1validation.ValidateLabelSelector(p.NamespaceSelector, noOptions, at.Child("namespaceSelector"))...)
		if p.IPBlock != nil {
			errs = append(errs, ipBlock(at.Child("ipBlock"), p.IPBlock)...)
		}
		switch {
		case !selected && p.IPBlock == nil:
			errs = append(errs, field.Required(at, "must specify a peer"))
		case selected && p.IPBlock != nil:
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		}
	}
	return errs
}

func ipBlock(at *field.Path, b *networkingv1.IPBlock) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "")}
	}
	errs := validation.IsValidCIDRForLegacyField(at.Child("cidr"), b.CIDR, true, nil)
	whole, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return errs
	}
	for i, text := range b.Except {
		at := at.Child("except").Index(i)
		errs = append(errs, validation.IsValidCIDRForLegacyField(at, text, true, nil)...)
		part, err := netip.ParsePrefix(text)
		if err == nil && (!whole.Contains(part.Addr()) || part.Bits() <= whole.Bits()) {
			errs = append(errs, field.Invalid(at, text, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

// IPAddress says what may be created. Its name is the address, written in the one way that RFC 5952 gives.
func IPAddress(obj *networkingv1.IPAddress) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, func(name string, _ bool) []string {
		var complaints []string
		for _, e := range validation.IsValidIP(nil, name) {
			complaints = append(complaints, e.Detail)
		}
		return complaints
	})
	at := specPath.Child("parentRef")
	ref := obj.Spec.ParentRef
	if ref == nil {
		return append(errs, field.Required(at, ""))
	}
	if ref.Group != "" {
		errs = append(errs, dnsSubdomain(at.Child("group"), ref.Group)...)
	}
	errs = append(errs, requiredSegment(at.Child("resource"), ref.Resource)...)
	errs = append(errs, requiredSegment(at.Child("name"), ref.Name)...)
	if ref.Namespace != "" {
		errs = append(errs, requiredSegment(at.Child("namespace"), ref.Namespace)...)
	}
	return errs
}

// IPAddressUpdate says what an IPAddress may be replaced with: whose it is stays.
func IPAddressUpdate(obj, old *networkingv1.IPAddress) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, validateImmutable(obj.Spec.ParentRef, old.Spec.ParentRef, specPath.Child("parentRef"))...)
}

// ServiceCIDR says what may be created.
func ServiceCIDR(obj *networkingv1.ServiceCIDR) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, serviceCIDRs(specPath.Child("cidrs"), obj.Spec.CIDRs)...)
}

func serviceCIDRs(at *field.Path, cidrs []string) field.ErrorList {
	switch n := len(cidrs); {
	case n == 0:
		return field.ErrorList{field.Required(at, "at least one CIDR required")}
	case n > 2:
		return field.ErrorList{field.Invalid(at, cidrs, "may only hold up to 2 values")}
	}
	var errs field.ErrorList
	var families []bool
	for i, text := range cidrs {
		errs = append(errs, validation.IsValidCIDR(at.Index(i), text)...)
		if p, err := netip.ParsePrefix(text); err == nil {
			families = append(families, p.Addr().Is4())
		}
	}
	if len(families) == 2 && families[0] == families[1] {
		errs = append(errs, field.Invalid(at, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
	}
	return errs
}

// ServiceCIDRUpdate says what a ServiceCIDR may be replaced with: a range of the other family may be added.
func ServiceCIDRUpdate(obj, old *networkingv1.ServiceCIDR) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	at := specPath.Child("cidrs")
	now, was := obj.Spec.CIDRs, old.Spec.CIDRs
	if len(now) != len(was) && (len(was) != 1 || len(now) != 2) {
		return append(errs, field.Invalid(at, now, fieldIsImmutable))
	}
	for i := range was {
		if now[i] != was[i] {
			errs = append(errs, field.Invalid(at.Index(i), now[i], fieldIsImmutable))
		}
	}
	if !slices.Equal(now, was) {
		errs = append(errs, serviceCIDRs(at, now)...)
	}
	return errs
}

// ServiceCIDRStatusUpdate says what the range's controller may report.
func ServiceCIDRStatusUpdate(obj, old *networkingv1.ServiceCIDR) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, metav1validation.ValidateConditions(obj.Status.Conditions, statusPath.Child("conditions"))...)
}

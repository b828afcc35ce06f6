package validation

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// serviceAddresses checks the addresses that a Service has or asks for, and that they, the IP families and their policy tell
// the same story. Any of them may still be missing before allocation.
func serviceAddresses(at *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range spec.ExternalIPs {
		at := at.Child("externalIPs").Index(i)
		if wrong := validation.IsValidIPForLegacyField(at, ip, true, nil); len(wrong) > 0 {
			errs = append(errs, wrong...)
			continue
		}
		errs = append(errs, routableIP(at, ip)...)
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		return errs // serviceType refuses the rest
	}
	errs = append(errs, ipFamilies(at, spec)...)
	ips := at.Child("clusterIPs")
	if len(spec.ClusterIPs) == 0 {
		if spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("clusterIP"), spec.ClusterIP, true, nil)...)
		}
		return errs
	}
	if spec.ClusterIP == "" {
		errs = append(errs, field.Required(at.Child("clusterIP"), "must be set when `clusterIPs` is set"))
	} else if spec.ClusterIPs[0] != spec.ClusterIP {
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	if len(spec.ClusterIPs) > 2 {
		return append(errs, field.Invalid(ips, spec.ClusterIPs, "may only hold up to 2 values"))
	}
	for i, value := range spec.ClusterIPs {
		at := ips.Index(i)
		if value == corev1.ClusterIPNone {
			if len(spec.ClusterIPs) > 1 {
				errs = append(errs, field.Invalid(at, value, "'None' must be the first and only value"))
			}
			continue
		}
		if wrong := validation.IsValidIPForLegacyField(at, value, true, nil); len(wrong) > 0 {
			errs = append(errs, wrong...)
			continue
		}
		if i >= len(spec.IPFamilies) {
			continue
		}
		// Checked just above.
		if ip, err := netip.ParseAddr(value); err == nil && familyOf(ip) != spec.IPFamilies[i] {
			errs = append(errs, field.Invalid(at, value, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", spec.IPFamilies[i], i)))
		}
	}
	if len(spec.ClusterIPs) == 2 {
		first, err1 := netip.ParseAddr(spec.ClusterIPs[0])
		second, err2 := netip.ParseAddr(spec.ClusterIPs[1])
		if err1 == nil && err2 == nil && familyOf(first) == familyOf(second) {
			errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "may specify no more than one IP for each IP family"))
		}
	}
	return errs
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() || ip.Is4In6() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func ipFamilies(at *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	families := at.Child("ipFamilies")
	if len(spec.IPFamilies) > 2 {
		errs = append(errs, field.Invalid(families, spec.IPFamilies, "may only hold up to 2 values"))
	}
	seen := map[corev1.IPFamily]bool{}
	for i, family := range spec.IPFamilies {
		errs = append(errs, oneOf(families.Index(i), family, corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if seen[family] {
			errs = append(errs, field.Duplicate(families.Index(i), family))
		}
		seen[family] = true
	}
	if spec.IPFamilyPolicy == nil {
		return errs
	}
	errs = append(errs, oneOf(at.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy,
		corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)...)
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		if len(spec.IPFamilies) > 1 {
			errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple `ipFamilies` are specified"))
		}
		if len(spec.ClusterIPs) > 1 {
			errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple `clusterIPs` are specified"))
		}
	}
	return errs
}

package registry

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
)

// settleFamilies makes the address fields of a Service agree before addresses are given out (KEP-563): afterwards ipFamilies says of which families it has one, and
// ipFamilyPolicy is set. old is what it replaces, with what it leaves out carried over already, or nil; families are the cluster's.
func settleFamilies(s, old *corev1.Service, families []corev1.IPFamily) field.ErrorList {
	spec := &s.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if spec.ClusterIP == corev1.ClusterIPNone || spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	// What the cluster can do may have changed since; a Service changes with it only when it is told to.
	if old != nil && prefersDual(spec) && prefersDual(&old.Spec) && slices.Equal(spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(spec.IPFamilies, old.Spec.IPFamilies) {
		return nil
	}
	headless := spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0
	if spec.IPFamilyPolicy == nil {
		spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
		if headless {
			// Its endpoints are made by others, of whatever family.
			spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
		}
	}
	single := *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	if single && old != nil {
		dropSecond(spec, &old.Spec)
	}
	errs := policyErrors(spec)
	errs = append(errs, inferFamilies(spec, families, headless)...)
	if len(errs) > 0 {
		return errs
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = families[:1:1]
	}
	if !single && len(spec.IPFamilies) == 1 && (headless || len(families) == 2) {
		spec.IPFamilies = append(slices.Clone(spec.IPFamilies), otherFamily(spec.IPFamilies[0]))
	}
	return nil
}

func prefersDual(s *corev1.ServiceSpec) bool {
	return s.IPFamilyPolicy != nil && *s.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack
}

// dropSecond takes the second family away: asking for SingleStack, with the addresses left as they were, says so.
func dropSecond(spec, old *corev1.ServiceSpec) {
	if slices.Equal(spec.ClusterIPs, old.ClusterIPs) && len(spec.ClusterIPs) > 1 {
		spec.ClusterIPs = spec.ClusterIPs[:1]
	}
	if slices.Equal(spec.IPFamilies, old.IPFamilies) && len(spec.IPFamilies) > 1 {
		spec.IPFamilies = spec.IPFamilies[:1]
	}
}

func policyErrors(spec *corev1.ServiceSpec) field.ErrorList {
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		return nil
	}
	var errs field.ErrorList
	at := field.NewPath("spec", "ipFamilyPolicy")
	if len(spec.ClusterIPs) > 1 {
		errs = append(errs, field.Invalid(at, *spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
	}
	if len(spec.IPFamilies) > 1 {
		errs = append(errs, field.Invalid(at, *spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
	}
	return errs
}

// inferFamilies adds the families of addresses that are asked for, and says which the cluster cannot give.
func inferFamilies(spec *corev1.ServiceSpec, families []corev1.IPFamily, headless bool) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	asked := spec.IPFamilies
	for i, text := range spec.ClusterIPs {
		if text == corev1.ClusterIPNone || i < len(spec.IPFamilies) {
			continue
		}
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return append(errs, field.Invalid(at.Child("clusterIPs").Index(i), text, "must be a valid IP address"))
		}
		family := clusterip.Family(ip)
		if !slices.Contains(families, family) {
			errs = append(errs, field.Invalid(at.Child("clusterIPs").Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
		}
		spec.IPFamilies = append(slices.Clone(spec.IPFamilies), family)
	}
	if headless {
		return errs
	}
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(families) < 2 {
		errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range asked {
		if !slices.Contains(families, family) {
			errs = append(errs, field.Invalid(at.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

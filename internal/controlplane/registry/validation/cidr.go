package validation

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// cidrPerFamily wants at most one network of each IP family.
func cidrPerFamily(at *field.Path, cidrs []string) field.ErrorList {
	var errs field.ErrorList
	for i, cidr := range cidrs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(at.Index(i), cidr, true, nil)...)
	}
	if len(errs) > 0 || len(cidrs) < 2 {
		return errs
	}
	// Both parse: the strict rule above is netip's.
	first, err1 := netip.ParsePrefix(cidrs[0])
	second, err2 := netip.ParsePrefix(cidrs[1])
	if len(cidrs) > 2 || err1 != nil || err2 != nil || first.Addr().Is4() == second.Addr().Is4() {
		errs = append(errs, field.Invalid(at, cidrs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

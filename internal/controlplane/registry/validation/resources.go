package validation

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
)

// resourceNameRule says which resources may be named at some place.
type resourceNameRule func(at *field.Path, name corev1.ResourceName) field.ErrorList

// qualifiedResource is any well-formed name.
func qualifiedResource(at *field.Path, name corev1.ResourceName) field.ErrorList {
	return qualifiedName(at, string(name))
}

// containerResource is what a container may ask for: cpu, memory, ephemeral-storage, huge pages, or an extended resource.
func containerResource(at *field.Path, name corev1.ResourceName) field.ErrorList {
	if errs := qualifiedResource(at, name); len(errs) > 0 {
		return errs
	}
	switch {
	case isHugePages(name), name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage:
		return nil
	case !strings.Contains(string(name), "/"):
		return field.ErrorList{field.Invalid(at, string(name), "must be a standard resource for containers")}
	case !isNative(name) && !isExtended(name):
		return field.ErrorList{field.Invalid(at, string(name), "doesn't follow extended resource name standard")}
	}
	return nil
}

// podLevelResource is what a Pod may ask for as a whole (KEP-2837).
func podLevelResource(at *field.Path, name corev1.ResourceName) field.ErrorList {
	if resourcehelper.IsSupportedPodLevelResource(name) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceHugePagesPrefix + "<size>", corev1.ResourceMemory})}
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// isNative says whether a name is the project's own: without a domain, or in kubernetes.io.
func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// isExtended says whether a name is one that device plugins and administrators may make up: with a domain of their own, and
// short enough for a quota to put "requests." before it.
func isExtended(name corev1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(content.IsLabelKey(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// overcommits says whether more of a resource may be promised than there is. Devices and huge pages are had or not.
func overcommits(name corev1.ResourceName) bool {
	return isNative(name) && !isHugePages(name)
}

func resourceList(at *field.Path, list corev1.ResourceList, named resourceNameRule) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(list) {
		at := at.Key(string(name))
		errs = append(errs, named(at, name)...)
		errs = append(errs, resourceQuantity(at, name, list[name])...)
	}
	return errs
}

func resourceQuantity(at *field.Path, name corev1.ResourceName, amount resource.Quantity) field.ErrorList {
	errs := nonNegativeQuantity(at, amount)
	if !isNative(name) && amount.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(at, amount.String(), "must be an integer"))
	}
	return errs
}

func nonNegativeQuantity(at *field.Path, amount resource.Quantity) field.ErrorList {
	if amount.Sign() < 0 {
		return field.ErrorList{field.Invalid(at, amount.String(), apivalidation.IsNegativeErrorMsg)}
	}
	return nil
}

// resourceRequirements checks limits and requests, each for itself and against each other, and the claims that are used.
func resourceRequirements(at *field.Path, r *corev1.ResourceRequirements, named resourceNameRule, claims []corev1.PodResourceClaim) field.ErrorList {
	limits, requests := at.Child("limits"), at.Child("requests")
	errs := resourceList(limits, r.Limits, named)
	errs = append(errs, resourceList(requests, r.Requests, named)...)
	hugePages := false
	for _, name := range sortedKeys(r.Limits) {
		hugePages = hugePages || isHugePages(name)
	}
	for _, name := range sortedKeys(r.Requests) {
		hugePages = hugePages || isHugePages(name)
		request := r.Requests[name]
		limit, limited := r.Limits[name]
		switch {
		case !limited && !overcommits(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		case limited && overcommits(name) && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case limited && !overcommits(name) && request.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		}
	}
	if hugePages && !asksFor(r, corev1.ResourceCPU) && !asksFor(r, corev1.ResourceMemory) {
		errs = append(errs, field.Forbidden(at, "HugePages require cpu or memory"))
	}
	return append(errs, usedClaims(at.Child("claims"), r.Claims, claims)...)
}

func asksFor(r *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	_, requested := r.Requests[name]
	_, limited := r.Limits[name]
	return requested || limited
}

// usedClaims wants each claim that a container uses to be one of its Pod's.
func usedClaims(at *field.Path, used []corev1.ResourceClaim, have []corev1.PodResourceClaim) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range have {
		names[have[i].Name] = true
	}
	seen := map[corev1.ResourceClaim]bool{}
	for i, claim := range used {
		at := at.Index(i)
		switch {
		case claim.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
			continue
		case !names[claim.Name]:
			errs = append(errs, field.NotFound(at.Child("name"), claim.Name))
		}
		if claim.Request != "" {
			errs = append(errs, dnsLabel(at.Child("request"), claim.Request)...)
		}
		// All of a claim and one request of it cannot both be meant.
		if seen[claim] || seen[corev1.ResourceClaim{Name: claim.Name}] || (claim.Request == "" && seesAny(seen, claim.Name)) {
			errs = append(errs, field.Duplicate(at, claim.Name))
		}
		seen[claim] = true
	}
	return errs
}

func seesAny(seen map[corev1.ResourceClaim]bool, name string) bool {
	for claim := range seen {
		if claim.Name == name {
			return true
		}
	}
	return false
}

package validation

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ResourceQuota says what may be created.
func ResourceQuota(obj *corev1.ResourceQuota) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, quotaSpec(&obj.Spec)...)
}

// ResourceQuotaUpdate says what a ResourceQuota may be replaced with. Its scopes stay: what has been counted was counted in them.
func ResourceQuotaUpdate(obj, old *corev1.ResourceQuota) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, quotaSpec(&obj.Spec)...)
	if !sets.New(obj.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		errs = append(errs, field.Invalid(specPath.Child("scopes"), obj.Spec.Scopes, fieldIsImmutable))
	}
	return errs
}

// ResourceQuotaStatusUpdate says what the quota controller, and admission, may report.
func ResourceQuotaStatusUpdate(obj, old *corev1.ResourceQuota) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, resourceList(statusPath.Child("hard"), obj.Status.Hard, quotaResource)...)
	return append(errs, resourceList(statusPath.Child("used"), obj.Status.Used, quotaResource)...)
}

func quotaSpec(spec *corev1.ResourceQuotaSpec) field.ErrorList {
	errs := resourceList(specPath.Child("hard"), spec.Hard, quotaResource)
	errs = append(errs, quotaScopes(spec)...)
	if spec.ScopeSelector != nil {
		errs = append(errs, scopeSelector(specPath.Child("scopeSelector", "matchExpressions"), spec)...)
	}
	return errs
}

// What a quota can count without a domain in its name.
var (
	podComputeResources = sets.New(
		corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	)
	otherQuotaResources = sets.New(
		corev1.ResourceEphemeralStorage, corev1.ResourceRequestsStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage,
		corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourcePersistentVolumeClaims, corev1.ResourceConfigMaps, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
	)
)

func isStandardQuota(name corev1.ResourceName) bool {
	return podComputeResources.Has(name) || otherQuotaResources.Has(name) || isHugePages(name) ||
		strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// quotaResource is what can be counted: the standard resources, and any with a domain, such as count/jobs.batch.
func quotaResource(at *field.Path, name corev1.ResourceName) field.ErrorList {
	if errs := qualifiedResource(at, name); len(errs) > 0 {
		return errs
	}
	if !strings.Contains(string(name), "/") && !isStandardQuota(name) {
		return field.ErrorList{field.Invalid(at, name, "must be a standard resource for quota")}
	}
	return nil
}

var knownScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
	corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass,
}

// scopeCovers says whether a resource can be counted in a scope: most scopes choose among Pods, and Pods that ask for nothing can only be counted.
func scopeCovers(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	}
	return !slices.Contains(knownScopes, scope) || name == corev1.ResourcePods || podComputeResources.Has(name)
}

func quotaScopes(spec *corev1.ResourceQuotaSpec) field.ErrorList {
	at := specPath.Child("scopes")
	var errs field.ErrorList
	for _, scope := range spec.Scopes {
		if !slices.Contains(knownScopes, scope) {
			errs = append(errs, field.Invalid(at, spec.Scopes, "unsupported scope"))
		}
		errs = append(errs, scopeApplies(at, spec.Scopes, scope, spec.Hard)...)
	}
	return append(errs, scopeConflicts(at, spec.Scopes)...)
}

func scopeApplies(at *field.Path, shown any, scope corev1.ResourceQuotaScope, hard corev1.ResourceList) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(hard) {
		if isStandardQuota(name) && !scopeCovers(scope, name) {
			errs = append(errs, field.Invalid(at, shown, "unsupported scope applied to resource"))
		}
	}
	return errs
}

func scopeConflicts(at *field.Path, scopes []corev1.ResourceQuotaScope) field.ErrorList {
	var errs field.ErrorList
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			errs = append(errs, field.Invalid(at, scopes, "conflicting scopes"))
		}
	}
	return errs
}

func scopeSelector(at *field.Path, spec *corev1.ResourceQuotaSpec) field.ErrorList {
	var errs field.ErrorList
	var scopes []corev1.ResourceQuotaScope
	for _, r := range spec.ScopeSelector.MatchExpressions {
		if !slices.Contains(knownScopes, r.ScopeName) {
			errs = append(errs, field.Invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope"))
		}
		errs = append(errs, scopeApplies(at, spec.ScopeSelector, r.ScopeName, spec.Hard)...)
		valued := r.ScopeName == corev1.ResourceQuotaScopePriorityClass || r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass
		if slices.Contains(knownScopes, r.ScopeName) && !valued && r.Operator != corev1.ScopeSelectorOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "+
				"ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
		}
		switch r.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(at.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				errs = append(errs, field.Invalid(at.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
			}
		default:
			errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
		}
		scopes = append(scopes, r.ScopeName)
	}
	return append(errs, scopeConflicts(at, scopes)...)
}

package validation

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// rbacName lets the names of roles hold a colon, as in system:node.
func rbacName(name string, _ bool) []string { return pathSegmentName(name, false) }

// Role says what may be created.
func Role(obj *rbacv1.Role) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, rbacName)
	return append(errs, policyRules(obj.Rules, true)...)
}

// RoleUpdate says what a Role may be replaced with.
func RoleUpdate(obj, old *rbacv1.Role) field.ErrorList {
	return append(Role(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
}

// ClusterRole says what may be created.
func ClusterRole(obj *rbacv1.ClusterRole) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, rbacName)
	errs = append(errs, policyRules(obj.Rules, false)...)
	if obj.AggregationRule == nil {
		return errs
	}
	at := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(obj.AggregationRule.ClusterRoleSelectors) == 0 {
		errs = append(errs, field.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range obj.AggregationRule.ClusterRoleSelectors {
		errs = append(errs, metav1validation.ValidateLabelSelector(&obj.AggregationRule.ClusterRoleSelectors[i], metav1validation.LabelSelectorValidationOptions{}, at.Index(i))...)
	}
	return errs
}

// ClusterRoleUpdate says what a ClusterRole may be replaced with.
func ClusterRoleUpdate(obj, old *rbacv1.ClusterRole) field.ErrorList {
	return append(ClusterRole(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
}

func policyRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		errs = append(errs, policyRule(field.NewPath("rules").Index(i), &rules[i], namespaced)...)
	}
	return errs
}

// policyRule wants a rule to be about resources or about paths that are no resource. Only cluster-wide rules can be about paths: these lie in no namespace.
func policyRule(at *field.Path, rule *rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	if len(rule.Verbs) == 0 {
		errs = append(errs, field.Required(at.Child("verbs"), "verbs must contain at least one value"))
	}
	if urls := at.Child("nonResourceURLs"); len(rule.NonResourceURLs) > 0 {
		if namespaced {
			errs = append(errs, field.Invalid(urls, rule.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
		}
		if len(rule.APIGroups)+len(rule.Resources)+len(rule.ResourceNames) > 0 {
			errs = append(errs, field.Invalid(urls, rule.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		return errs
	}
	if len(rule.APIGroups) == 0 {
		errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(rule.Resources) == 0 {
		errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
	}
	return errs
}

// RoleBinding says what may be created.
func RoleBinding(obj *rbacv1.RoleBinding) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, rbacName)
	errs = append(errs, roleRef(&obj.RoleRef, "ClusterRole", "Role")...)
	return append(errs, subjects(obj.Subjects, true)...)
}

// RoleBindingUpdate says what a RoleBinding may be replaced with. Another role is another binding: whoever may change subjects must not come to grant a role.
func RoleBindingUpdate(obj, old *rbacv1.RoleBinding) field.ErrorList {
	errs := append(RoleBinding(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	return append(errs, validateImmutable(obj.RoleRef, old.RoleRef, field.NewPath("roleRef"))...)
}

// ClusterRoleBinding says what may be created.
func ClusterRoleBinding(obj *rbacv1.ClusterRoleBinding) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, rbacName)
	errs = append(errs, roleRef(&obj.RoleRef, "ClusterRole")...)
	return append(errs, subjects(obj.Subjects, false)...)
}

// ClusterRoleBindingUpdate says what a ClusterRoleBinding may be replaced with.
func ClusterRoleBindingUpdate(obj, old *rbacv1.ClusterRoleBinding) field.ErrorList {
	errs := append(ClusterRoleBinding(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	return append(errs, validateImmutable(obj.RoleRef, old.RoleRef, field.NewPath("roleRef"))...)
}

func roleRef(ref *rbacv1.RoleRef, kinds ...string) field.ErrorList {
	at := field.NewPath("roleRef")
	errs := oneOf(at.Child("apiGroup"), ref.APIGroup, rbacv1.GroupName)
	errs = append(errs, oneOf(at.Child("kind"), ref.Kind, kinds...)...)
	if ref.Name == "" {
		return append(errs, field.Required(at.Child("name"), ""))
	}
	return append(errs, invalid(at.Child("name"), ref.Name, rbacName(ref.Name, false))...)
}

func subjects(list []rbacv1.Subject, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		errs = append(errs, subject(field.NewPath("subjects").Index(i), &list[i], namespaced)...)
	}
	return errs
}

func subject(at *field.Path, s *rbacv1.Subject, namespaced bool) field.ErrorList {
	errs := required(at.Child("name"), s.Name)
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			errs = append(errs, invalid(at.Child("name"), s.Name, dnsSubdomainName(s.Name, false))...)
		}
		if s.APIGroup != "" {
			errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{""}))
		}
		// Without one a RoleBinding means its own.
		if s.Namespace == "" && !namespaced {
			errs = append(errs, field.Required(at.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		errs = append(errs, oneOf(at.Child("apiGroup"), s.APIGroup, rbacv1.GroupName)...)
	default:
		errs = append(errs, oneOf(at.Child("kind"), s.Kind, rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)...)
	}
	return errs
}

package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Allows tells whether one rule of a role permits the request.
func Allows(rule *rbacv1.PolicyRule, a authorizer.Attributes) bool {
	if !contains(rule.Verbs, rbacv1.VerbAll, a.GetVerb()) {
		return false
	}
	if !a.IsResourceRequest() {
		return slices.ContainsFunc(rule.NonResourceURLs, func(pattern string) bool { return matchesPath(pattern, a.GetPath()) })
	}
	return contains(rule.APIGroups, rbacv1.APIGroupAll, a.GetAPIGroup()) &&
		matchesResource(rule.Resources, a.GetResource(), a.GetSubresource()) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.GetName()))
}

func contains(list []string, all, value string) bool {
	return slices.Contains(list, all) || slices.Contains(list, value)
}

// matchesResource knows three forms besides the plain name: "*", "pods/log", and "*/scale" for that subresource of everything.
func matchesResource(rules []string, resource, subresource string) bool {
	if subresource == "" {
		return contains(rules, rbacv1.ResourceAll, resource)
	}
	return contains(rules, rbacv1.ResourceAll, resource+"/"+subresource) || slices.Contains(rules, "*/"+subresource)
}

// matchesPath compares a URL's path; a star at the end of the pattern is any rest.
func matchesPath(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

// appliesTo tells whether one of a binding's subjects is the user. A ServiceAccount without a namespace is one of the binding's own.
func appliesTo(subjects []rbacv1.Subject, u user.Info, namespace string) *rbacv1.Subject {
	for i := range subjects {
		s := &subjects[i]
		switch s.Kind {
		case rbacv1.UserKind:
			if u.GetName() == s.Name {
				return s
			}
		case rbacv1.GroupKind:
			if slices.Contains(u.GetGroups(), s.Name) {
				return s
			}
		case rbacv1.ServiceAccountKind:
			ns := s.Namespace
			if ns == "" {
				ns = namespace
			}
			if ns != "" && serviceaccount.MatchesUsername(ns, s.Name, u.GetName()) {
				return s
			}
		}
	}
	return nil
}

package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

// Grants judges who may hand out rights: nobody may give what they do not have themselves, unless a verb allows just that: "escalate" on the role, "bind" on the
// role that a binding refers to.
type Grants struct {
	Resolver *Resolver
	// Authorizer is asked about the two verbs.
	Authorizer authorizer.Authorizer
}

var _ registry.Grants = (*Grants)(nil)

// all is every right there is: who selects roles by label cannot know what they will hold.
var all = []rbacv1.PolicyRule{
	{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	{NonResourceURLs: []string{"*"}, Verbs: []string{"*"}},
}

// Role implements registry.Grants.
func (g *Grants) Role(ctx context.Context, resource, namespace, name string, rules []rbacv1.PolicyRule, aggregated bool) error {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return errors.New("the request has no user")
	}
	if privileged(u) || g.allowed(ctx, u, "escalate", resource, namespace, name) {
		return nil
	}
	if aggregated && g.covers(u, namespace, all) != nil {
		return errors.New("must have cluster-admin privileges to use an aggregationRule")
	}
	return g.covers(u, namespace, rules)
}

// Binding implements registry.Grants.
func (g *Grants) Binding(ctx context.Context, namespace string, ref rbacv1.RoleRef) error {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return errors.New("the request has no user")
	}
	resource, roleNamespace := "clusterroles", ""
	if ref.Kind == "Role" {
		resource, roleNamespace = "roles", namespace
	}
	// The verb counts in the namespace of the binding too: there the right would be given.
	if privileged(u) || g.allowed(ctx, u, "bind", resource, roleNamespace, ref.Name) || namespace != roleNamespace && g.allowed(ctx, u, "bind", resource, namespace, ref.Name) {
		return nil
	}
	rules, err := g.Resolver.RulesOf(ref, namespace)
	if err != nil {
		return err
	}
	return g.covers(u, namespace, rules)
}

func privileged(u user.Info) bool { return slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) }

func (g *Grants) allowed(ctx context.Context, u user.Info, verb, resource, namespace, name string) bool {
	decision, _, err := g.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: u, Verb: verb, APIGroup: rbacv1.GroupName, APIVersion: "*", Resource: resource, Namespace: namespace, Name: name, ResourceRequest: true,
	})
	return err == nil && decision == authorizer.DecisionAllow
}

// covers says which of the rules u does not hold in the namespace.
func (g *Grants) covers(u user.Info, namespace string, rules []rbacv1.PolicyRule) error {
	held, err := g.Resolver.Rules(u, namespace)
	ok, missing := validation.Covers(held, rules)
	if ok {
		return nil
	}
	lines := make([]string, 0, len(missing))
	for i := range missing {
		lines = append(lines, compact(&missing[i]))
	}
	slices.Sort(lines)
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if err != nil {
		text += fmt.Sprintf("; resolution errors: [%v]", err)
	}
	return errors.New(text)
}

// compact writes a rule on one line, leaving out what it has not.
func compact(rule *rbacv1.PolicyRule) string {
	var parts []string
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", rule.APIGroups},
		{"Resources", rule.Resources},
		{"ResourceNames", rule.ResourceNames},
		{"NonResourceURLs", rule.NonResourceURLs},
		{"Verbs", rule.Verbs},
	} {
		if len(f.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", f.name, f.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

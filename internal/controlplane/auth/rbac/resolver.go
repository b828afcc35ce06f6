package rbac

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
)

// Resolver finds the rules that bindings give to users.
type Resolver struct {
	roles               rbaclisters.RoleLister
	clusterRoles        rbaclisters.ClusterRoleLister
	roleBindings        rbaclisters.RoleBindingLister
	clusterRoleBindings rbaclisters.ClusterRoleBindingLister
	// global are the informers of ClusterRoles and ClusterRoleBindings.
	global []cache.SharedIndexInformer
	synced []cache.InformerSynced
}

var _ authorizer.RuleResolver = (*Resolver)(nil)

// NewResolver reads the informers of f, which somebody else starts. Until they are filled nobody has rights.
func NewResolver(f informers.SharedInformerFactory) *Resolver {
	r := f.Rbac().V1()
	return &Resolver{
		roles: r.Roles().Lister(), clusterRoles: r.ClusterRoles().Lister(),
		roleBindings: r.RoleBindings().Lister(), clusterRoleBindings: r.ClusterRoleBindings().Lister(),
		global: []cache.SharedIndexInformer{r.ClusterRoles().Informer(), r.ClusterRoleBindings().Informer()},
		synced: []cache.InformerSynced{
			r.Roles().Informer().HasSynced, r.ClusterRoles().Informer().HasSynced,
			r.RoleBindings().Informer().HasSynced, r.ClusterRoleBindings().Informer().HasSynced,
		},
	}
}

// Synced tells whether all roles and bindings are known.
func (r *Resolver) Synced() bool {
	for _, synced := range r.synced {
		if !synced() {
			return false
		}
	}
	return true
}

// Await returns when these bindings and their ClusterRoles are known, or with ctx's error when it ends before.
func (r *Resolver) Await(ctx context.Context, bindings []rbacv1.ClusterRoleBinding) error {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	for _, inf := range r.global {
		h, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { tell() }, UpdateFunc: func(_, _ any) { tell() }})
		if err != nil {
			return fmt.Errorf("watch roles and bindings: %w", err)
		}
		defer func() { _ = inf.RemoveEventHandler(h) }()
	}
	for !r.holds(bindings) {
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *Resolver) holds(bindings []rbacv1.ClusterRoleBinding) bool {
	for i := range bindings {
		if _, err := r.clusterRoleBindings.Get(bindings[i].Name); err != nil {
			return false
		}
		if _, err := r.RulesOf(bindings[i].RoleRef, ""); err != nil {
			return false
		}
	}
	return true
}

// grant is one rule together with what gave it.
type grant struct {
	rule *rbacv1.PolicyRule
	// because names the binding, the role and the subject.
	because func() string
}

// visit shows the rules of u that hold in the namespace (empty: cluster-wide ones only) until the visitor has seen enough. A binding whose role is missing gives
// nothing; it is reported, and the others count.
func (r *Resolver) visit(u user.Info, namespace string, enough func(grant) bool) error {
	var errs []error
	bindings, err := r.clusterRoleBindings.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, b := range bindings {
		if done := r.visitBinding(u, "ClusterRoleBinding", "", b.Name, b.RoleRef, b.Subjects, enough, &errs); done {
			return nil
		}
	}
	if namespace == "" {
		return errors.Join(errs...)
	}
	local, err := r.roleBindings.RoleBindings(namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	for _, b := range local {
		if done := r.visitBinding(u, "RoleBinding", namespace, b.Name, b.RoleRef, b.Subjects, enough, &errs); done {
			return nil
		}
	}
	return errors.Join(errs...)
}

func (r *Resolver) visitBinding(u user.Info, kind, namespace, name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject, enough func(grant) bool, errs *[]error) (done bool) {
	subject := appliesTo(subjects, u, namespace)
	if subject == nil {
		return false
	}
	rules, err := r.RulesOf(ref, namespace)
	if err != nil {
		*errs = append(*errs, err)
		return false
	}
	because := func() string { return reason(kind, namespace, name, ref, *subject) }
	for i := range rules {
		if enough(grant{&rules[i], because}) {
			return true
		}
	}
	return false
}

// reason has the form that audit logs of Kubernetes carry.
func reason(kind, namespace, name string, ref rbacv1.RoleRef, s rbacv1.Subject) string {
	binding, subject := name, s.Name
	if namespace != "" {
		binding = name + "/" + namespace
	}
	if s.Kind == rbacv1.ServiceAccountKind {
		subject = s.Name + "/" + s.Namespace
	}
	return fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q", kind, binding, ref.Kind, ref.Name, s.Kind, subject)
}

// RulesOf are the rules of the role that a binding in the namespace refers to. The error is NotFound for a role that does not exist.
func (r *Resolver) RulesOf(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		role, err := r.roles.Roles(namespace).Get(ref.Name)
		if err != nil {
			return nil, roleError(err, "role", ref.Name)
		}
		return role.Rules, nil
	case "ClusterRole":
		role, err := r.clusterRoles.Get(ref.Name)
		if err != nil {
			return nil, roleError(err, "clusterrole", ref.Name)
		}
		return role.Rules, nil
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// roleError names the API group, which the cache's own error leaves out.
func roleError(err error, resource, name string) error {
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(rbacv1.Resource(resource), name)
	}
	return err
}

// Rules are all rules of u in the namespace, and what could not be resolved.
func (r *Resolver) Rules(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	err := r.visit(u, namespace, func(g grant) bool {
		rules = append(rules, *g.rule)
		return false
	})
	return rules, err
}

// RulesFor implements authorizer.RuleResolver, for SelfSubjectRulesReview.
func (r *Resolver) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	rules, err := r.Rules(u, namespace)
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	for i := range rules {
		rule := &rules[i]
		if len(rule.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return resources, paths, err != nil, err
}

// Authorizer returns r in the form that the library takes.
func (r *Resolver) Authorizer() authorizer.Authorizer { return authorizer.AuthorizerFunc(r.Authorize) }

// Authorize allows what some rule allows, and has no opinion about the rest.
func (r *Resolver) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	allowed := ""
	err := r.visit(a.GetUser(), a.GetNamespace(), func(g grant) bool {
		if !Allows(g.rule, a) {
			return false
		}
		allowed = g.because()
		return true
	})
	switch {
	case allowed != "":
		return authorizer.DecisionAllow, allowed, nil
	case !r.Synced():
		return authorizer.DecisionNoOpinion, "RBAC: the roles are not known yet; try again in a moment", nil
	case err != nil:
		return authorizer.DecisionNoOpinion, fmt.Sprintf("RBAC: %v", err), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

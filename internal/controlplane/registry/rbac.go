package registry

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// Grants judges whether the user of a request may hand out rights. An error says what is missing.
type Grants interface {
	// Role judges the rules that a Role or ClusterRole is to have; aggregated when it is to take those of others, found by label.
	Role(ctx context.Context, resource, namespace, name string, rules []rbacv1.PolicyRule, aggregated bool) error
	// Binding judges a reference to a role from a binding in the namespace, or from a ClusterRoleBinding when that is empty.
	Binding(ctx context.Context, namespace string, ref rbacv1.RoleRef) error
}

func rbacGroup(d Deps) group {
	return group{gv: rbacv1.SchemeGroupVersion, entries: []entry{
		Kind[*rbacv1.Role]{
			Resource: "roles", Singular: "role",
			New: func() *rbacv1.Role { return &rbacv1.Role{} }, NewList: func() runtime.Object { return &rbacv1.RoleList{} },
			Columns: columns.Role, CreateOnUpdate: true,
			Validate: validation.Role, ValidateUpdate: validation.RoleUpdate,
			Wrap: guarded(func(ctx context.Context, r, old *rbacv1.Role) error {
				if old != nil && equality.Semantic.DeepEqual(r.Rules, old.Rules) {
					return nil
				}
				return d.Grants.Role(ctx, "roles", r.Namespace, r.Name, r.Rules, false)
			}),
		},
		Kind[*rbacv1.ClusterRole]{
			Resource: "clusterroles", Singular: "clusterrole", ClusterScoped: true,
			New: func() *rbacv1.ClusterRole { return &rbacv1.ClusterRole{} }, NewList: func() runtime.Object { return &rbacv1.ClusterRoleList{} },
			Columns: columns.ClusterRole, CreateOnUpdate: true,
			Validate: validation.ClusterRole, ValidateUpdate: validation.ClusterRoleUpdate,
			Wrap: guarded(func(ctx context.Context, r, old *rbacv1.ClusterRole) error {
				if old != nil && equality.Semantic.DeepEqual(r.Rules, old.Rules) && equality.Semantic.DeepEqual(r.AggregationRule, old.AggregationRule) {
					return nil
				}
				return d.Grants.Role(ctx, "clusterroles", "", r.Name, r.Rules, r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0)
			}),
		},
		Kind[*rbacv1.RoleBinding]{
			Resource: "rolebindings", Singular: "rolebinding",
			New: func() *rbacv1.RoleBinding { return &rbacv1.RoleBinding{} }, NewList: func() runtime.Object { return &rbacv1.RoleBindingList{} },
			Columns: columns.RoleBinding, CreateOnUpdate: true,
			Validate: validation.RoleBinding, ValidateUpdate: validation.RoleBindingUpdate,
			Wrap: guarded(func(ctx context.Context, b, old *rbacv1.RoleBinding) error {
				if old != nil && b.RoleRef == old.RoleRef && equality.Semantic.DeepEqual(b.Subjects, old.Subjects) {
					return nil
				}
				return d.Grants.Binding(ctx, b.Namespace, b.RoleRef)
			}),
		},
		Kind[*rbacv1.ClusterRoleBinding]{
			Resource: "clusterrolebindings", Singular: "clusterrolebinding", ClusterScoped: true,
			New: func() *rbacv1.ClusterRoleBinding { return &rbacv1.ClusterRoleBinding{} }, NewList: func() runtime.Object { return &rbacv1.ClusterRoleBindingList{} },
			Columns: columns.ClusterRoleBinding, CreateOnUpdate: true,
			Validate: validation.ClusterRoleBinding, ValidateUpdate: validation.ClusterRoleBindingUpdate,
			Wrap: guarded(func(ctx context.Context, b, old *rbacv1.ClusterRoleBinding) error {
				if old != nil && b.RoleRef == old.RoleRef && equality.Semantic.DeepEqual(b.Subjects, old.Subjects) {
					return nil
				}
				return d.Grants.Binding(ctx, "", b.RoleRef)
			}),
		},
	}}
}

// guardedREST asks judge before an object is written. Admission could not do it: what is judged is the object as it will be stored, and an update that creates
// has no old one.
type guardedREST[T Object] struct {
	*resource
	// judge refuses with an error; old is nil (a typed one) for a new object.
	judge func(ctx context.Context, obj, old T) error
}

var _ rest.StandardStorage = guardedREST[*rbacv1.Role]{}

func guarded[T Object](judge func(ctx context.Context, obj, old T) error) func(*resource) (rest.Storage, error) {
	return func(r *resource) (rest.Storage, error) { return guardedREST[T]{r, judge}, nil }
}

func (g guardedREST[T]) refuse(obj T, err error) error {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return err
	}
	return apierrors.NewForbidden(g.DefaultQualifiedResource, obj.GetName(), err)
}

func (g guardedREST[T]) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	o, ok := obj.(T)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a %T, got a %T", o, obj))
	}
	var none T
	if o.GetNamespace() == "" {
		// The namespace of the URL is filled in later; what is granted there is judged now.
		o.SetNamespace(genericapirequest.NamespaceValue(ctx))
	}
	if err := g.judge(ctx, o, none); err != nil {
		return nil, g.refuse(o, err)
	}
	return g.resource.Create(ctx, obj, validate, options)
}

func (g guardedREST[T]) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc,
	force bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	checked := rest.WrapUpdatedObjectInfo(info, func(ctx context.Context, obj, oldObj runtime.Object) (runtime.Object, error) {
		o, ok := obj.(T)
		if !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a %T, got a %T", o, obj))
		}
		// For a name that is free the library hands over an empty object as the old one.
		old, ok := oldObj.(T)
		if ok && old.GetUID() == "" {
			var none T
			old = none
		}
		if err := g.judge(ctx, o, old); err != nil {
			return nil, g.refuse(o, err)
		}
		return obj, nil
	})
	return g.resource.Update(ctx, name, checked, create, update, force, options)
}

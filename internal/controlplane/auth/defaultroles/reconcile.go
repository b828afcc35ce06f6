package defaultroles

import (
	"errors"
	"fmt"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
)

// Ensure makes what is missing and puts back what was taken away. It does as much as it can, and says all that failed.
func Ensure(core corev1client.NamespacesGetter, rbac rbacclient.RbacV1Interface) error {
	var errs []error
	reconcile := func(kind, name string, owner reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier) {
		o := reconciliation.ReconcileRoleOptions{Role: owner, Client: client, Confirm: true}
		if _, err := o.Run(); err != nil {
			errs = append(errs, fmt.Errorf("default %s %s: %w", kind, name, err))
		}
	}
	for _, r := range ClusterRoles() {
		reconcile("ClusterRole", r.Name, reconciliation.ClusterRoleRuleOwner{ClusterRole: &r}, reconciliation.ClusterRoleModifier{Client: rbac.ClusterRoles()})
	}
	for _, r := range Roles() {
		reconcile("Role", r.Namespace+"/"+r.Name, reconciliation.RoleRuleOwner{Role: &r}, reconciliation.RoleModifier{Client: rbac, NamespaceClient: core.Namespaces()})
	}
	for _, b := range ClusterRoleBindings() {
		o := reconciliation.ReconcileRoleBindingOptions{
			RoleBinding: reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &b},
			Client:      reconciliation.ClusterRoleBindingClientAdapter{Client: rbac.ClusterRoleBindings()}, Confirm: true,
		}
		if _, err := o.Run(); err != nil {
			errs = append(errs, fmt.Errorf("default ClusterRoleBinding %s: %w", b.Name, err))
		}
	}
	return errors.Join(errs...)
}

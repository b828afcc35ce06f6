package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

// applicationRights lets nobody get by an Application what he may not do himself: to write one is to have somebody's repository applied with the rights of its account, or, where it
// names none, with all. An Application that an account's commit holds is judged by that account, since it writes it.
func applicationRights(authz authorizer.Authorizer) *rule {
	return rule{of: []schema.GroupResource{v1alpha1.GroupVersion.WithResource("applications").GroupResource()}, validate: func(ctx context.Context, a admission.Attributes) error {
		app, ok := object[*v1alpha1.Application](a)
		if !ok {
			return nil
		}
		// To ask for a look, or to go back to an earlier commit, gives no rights.
		if old := oldObject[*v1alpha1.Application](a); old != nil && equality.Semantic.DeepEqual(app.Spec, old.Spec) {
			return nil
		}
		everything := authorizer.AttributesRecord{User: a.GetUserInfo(), Verb: "*", APIGroup: "*", APIVersion: "*", Resource: "*", ResourceRequest: true}
		account := app.Spec.ServiceAccountName
		switch {
		case account == "" && !allows(ctx, authz, everything):
			return fmt.Errorf("spec.serviceAccountName: without it the Application is applied with all rights, which user %q has not; name an account of namespace %s", a.GetUserInfo().GetName(), app.Namespace)
		case readsDisk(&app.Spec.Source) && !allows(ctx, authz, everything):
			return fmt.Errorf("spec.source: a repository on the control plane's own disk is for those who have all rights, which user %q has not", a.GetUserInfo().GetName())
		case account == "":
			return nil
		}
		as := authorizer.AttributesRecord{
			User: a.GetUserInfo(), Verb: "impersonate", APIGroup: corev1.GroupName, APIVersion: "v1", Resource: "serviceaccounts", Namespace: app.Namespace, Name: account, ResourceRequest: true,
		}
		if !allows(ctx, authz, as) {
			return fmt.Errorf("spec.serviceAccountName: user %q may not act as the account %s of namespace %s; it takes the verb impersonate on it", a.GetUserInfo().GetName(), account, app.Namespace)
		}
		return nil
	}}.on(nil, admission.Create, admission.Update)
}

// readsDisk says whether a source names, or may come to name, a repository on the control plane's own disk.
func readsDisk(s *v1alpha1.Source) bool {
	return source.OnThisHost(s.RepoURL) || slices.ContainsFunc(s.Remotes, func(prefix string) bool { return strings.HasPrefix(strings.ToLower(prefix), "file:") })
}

func allows(ctx context.Context, authz authorizer.Authorizer, what authorizer.Attributes) bool {
	decision, _, err := authz.Authorize(ctx, what)
	return err == nil && decision == authorizer.DecisionAllow
}

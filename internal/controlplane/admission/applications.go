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
// names none, with all; and to delete one is to have what it brought deleted so. An Application that an account's commit holds is judged by that account, since it writes it.
func applicationRights(authz authorizer.Authorizer, apps Applications) *rule {
	resource := v1alpha1.GroupVersion.WithResource("applications").GroupResource()
	namespaces := corev1.SchemeGroupVersion.WithResource("namespaces").GroupResource()
	return rule{of: []schema.GroupResource{resource, namespaces}, validate: func(ctx context.Context, a admission.Attributes) error {
		switch {
		case a.GetOperation() != admission.Delete:
			return mayWriteApplication(ctx, authz, a)
		case a.GetResource().GroupResource() == resource:
			return mayDeleteApplication(ctx, authz, a, oldObject[*v1alpha1.Application](a))
		case mayEverything(ctx, authz, a):
			return nil
		}
		all, err := apps.Applications(ctx)
		if err != nil {
			return err
		}
		for i := range all {
			if all[i].Namespace != a.GetName() {
				continue
			}
			if err := mayDeleteApplication(ctx, authz, a, &all[i]); err != nil {
				return fmt.Errorf("it holds the Application %s: %w", all[i].Name, err)
			}
		}
		return nil
	}}.on(nil, admission.Create, admission.Update, admission.Delete)
}

func mayWriteApplication(ctx context.Context, authz authorizer.Authorizer, a admission.Attributes) error {
	app, ok := object[*v1alpha1.Application](a)
	if !ok {
		return nil
	}
	// To ask for a look, or to go back to an earlier commit, gives no rights; to have it deleted with its owner does.
	if old := oldObject[*v1alpha1.Application](a); old != nil && equality.Semantic.DeepEqual(app.Spec, old.Spec) && equality.Semantic.DeepEqual(app.OwnerReferences, old.OwnerReferences) {
		return nil
	}
	if readsDisk(&app.Spec.Source) && !mayEverything(ctx, authz, a) {
		return fmt.Errorf("spec.source: a repository on the control plane's own disk is for those who have all rights, which user %q has not", a.GetUserInfo().GetName())
	}
	return mayActAs(ctx, authz, a, app)
}

// mayDeleteApplication asks for nothing where the Application's objects stay.
func mayDeleteApplication(ctx context.Context, authz authorizer.Authorizer, a admission.Attributes, app *v1alpha1.Application) error {
	if app == nil || app.Spec.Suspend || !slices.Contains(app.Finalizers, v1alpha1.FinalizerPrune) {
		return nil
	}
	if err := mayActAs(ctx, authz, a, app); err != nil {
		return fmt.Errorf("deleting it deletes what it brought, unless it has spec.onDeletion: keep: %w", err)
	}
	return nil
}

// mayActAs says why whoever makes a request may not do what an Application may.
func mayActAs(ctx context.Context, authz authorizer.Authorizer, a admission.Attributes, app *v1alpha1.Application) error {
	account, u := app.Spec.ServiceAccountName, a.GetUserInfo()
	if account == "" {
		if !mayEverything(ctx, authz, a) {
			return fmt.Errorf("spec.serviceAccountName: without it the Application is applied with all rights, which user %q has not; name an account of namespace %s", u.GetName(), app.Namespace)
		}
		return nil
	}
	if !allows(ctx, authz, authorizer.AttributesRecord{
		User: u, Verb: "impersonate", APIGroup: corev1.GroupName, APIVersion: "v1", Resource: "serviceaccounts", Namespace: app.Namespace, Name: account, ResourceRequest: true,
	}) {
		return fmt.Errorf("spec.serviceAccountName: user %q may not act as the account %s of namespace %s; it takes the verb impersonate on it", u.GetName(), account, app.Namespace)
	}
	return nil
}

func mayEverything(ctx context.Context, authz authorizer.Authorizer, a admission.Attributes) bool {
	return allows(ctx, authz, authorizer.AttributesRecord{User: a.GetUserInfo(), Verb: "*", APIGroup: "*", APIVersion: "*", Resource: "*", ResourceRequest: true})
}

// readsDisk says whether a source names, or may come to name, a repository on the control plane's own disk.
func readsDisk(s *v1alpha1.Source) bool {
	return source.OnThisHost(s.RepoURL) || slices.ContainsFunc(s.Remotes, func(prefix string) bool { return strings.HasPrefix(strings.ToLower(prefix), "file:") })
}

func allows(ctx context.Context, authz authorizer.Authorizer, what authorizer.Attributes) bool {
	decision, _, err := authz.Authorize(ctx, what)
	return err == nil && decision == authorizer.DecisionAllow
}

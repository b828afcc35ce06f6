package gitops_test

import (
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/client"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

func TestAnAccountThatMayNotReadIsSaidSo(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.ServiceAccountName = "nobody" })
	b.push(shop("web:1"))
	b.until("the status says what is refused", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSynced)
		return c != nil && a.Status.Sync == "Failed" && strings.Contains(c.Message, "nothing of it was applied:\ndeploy/") && strings.Contains(c.Message, ": refused: ") &&
			strings.Contains(c.Message, "system:serviceaccount:gitopsd-system:nobody") && c.Reason == "Denied" &&
			strings.Contains(c.Message, `to allow it, give the account gitopsd-system/nobody a `)
	})
}

// What another namespace says of a source is told only to an Application whose account may read it there.
func TestASourceOfAnotherNamespaceIsForAccountsThatMayReadIt(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/source.yaml"] = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: private, namespace: shop}\nspec: {url: '" + b.git.Repo() + "', ref: {branch: main}}\n"
	// The account has every right to Applications in the tenant's own namespace, and none in the shop's.
	files["deploy/tenant.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: tenant}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: deployer, namespace: tenant}\n" +
		"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: deployer, namespace: tenant}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: ServiceAccount, name: deployer, namespace: tenant}]\n"
	files["tenant/apps.yaml"] = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: stolen, namespace: tenant}\n" +
		"spec: {interval: 10m, path: ./own, sourceRef: {kind: GitRepository, name: private, namespace: shop}, serviceAccountName: deployer}\n"
	files["own/cm.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own, namespace: tenant}\n"
	b.applied(b.push(files))
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "tenant", Namespace: "tenant"},
		Spec:       v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: b.git.Repo(), Path: "tenant"}, ServiceAccountName: "deployer", Interval: &metav1.Duration{Duration: time.Second}},
	}
	if err := gitops.EnsureRoot(t.Context(), b.cluster.System, app); err != nil {
		t.Fatal(err)
	}
	const refused = "tenant/apps.yaml:4: Kustomization tenant/stolen: spec.sourceRef: looking for GitRepository shop/private: " +
		"spec.serviceAccountName: the account deployer may not read the ConfigMap shop/gitrepository.private, in which the source is described; grant it get, or describe the source in the Application's own namespace"
	b.findIn("tenant", "tenant", "it is refused", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && strings.Contains(c.Message, refused)
	})
	// The owner of the source grants it, and the next look finds it.
	files["deploy/grant.yaml"] = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: sources, namespace: shop}\n" +
		"rules: [{apiGroups: [''], resources: [configmaps], resourceNames: [gitrepository.private], verbs: [get]}]\n" +
		"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: sources, namespace: shop}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: sources}\nsubjects: [{kind: ServiceAccount, name: deployer, namespace: tenant}]\n"
	b.applied(b.push(files))
	b.ready("tenant", "stolen")
	if _, err := b.kube.CoreV1().ConfigMaps("tenant").Get(t.Context(), "own", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// The built-in role edit lets its holders write Applications; that must not make administrators of them.
func TestNobodyGetsByAnApplicationWhatHeMayNotDoHimself(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/tenant.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: tenant}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: deployer, namespace: tenant}\n" +
		"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: edit, namespace: tenant}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:aggregate-to-edit'}\nsubjects: [{kind: User, name: bob, apiGroup: rbac.authorization.k8s.io}, {kind: ServiceAccount, name: deployer, namespace: tenant}]\n" +
		"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: writer, namespace: tenant}\nrules: [{apiGroups: [gitopsd.io], resources: [applications], verbs: ['*']}]\n" +
		"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: writer, namespace: tenant}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: writer}\nsubjects: [{kind: User, name: eve, apiGroup: rbac.authorization.k8s.io}]\n"
	files["tenant/app.yaml"] = "apiVersion: gitopsd.io/v1alpha1\nkind: Application\nmetadata: {name: all, namespace: tenant}\nspec: {source: {repoURL: '" + b.git.Repo() + "', path: all}}\n"
	files["all/role.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: taken}\n"
	b.applied(b.push(files))
	write := func(user string, spec v1alpha1.ApplicationSpec) error {
		t.Helper()
		clients, err := client.New(b.cluster.User(t, user))
		if err != nil {
			t.Fatal(err)
		}
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: "tenant"}, Spec: spec}
		app.Spec.Suspend = true
		_, err = clients.In("tenant").Create(t.Context(), app, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for _, c := range []struct{ name, user, account, repo, refused string }{
		{"with all rights", "bob", "", b.git.Repo(), `spec.serviceAccountName: without it the Application is applied with all rights, which user "bob" has not`},
		{"from the control plane's disk", "bob", "deployer", "file:///etc", `spec.source: a repository on the control plane's own disk is for those who have all rights`},
		{"as an account that the user may not act as", "eve", "deployer", b.git.Repo(), `spec.serviceAccountName: user "eve" may not act as the account deployer of namespace tenant`},
		{"as an account that the user may act as", "bob", "deployer", b.git.Repo(), ""},
	} {
		err := write(c.user, v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: c.repo, Path: "own"}, ServiceAccountName: c.account})
		if c.refused == "" && err != nil || c.refused != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.refused)
		}
	}

	// The commit of an Application with an account is refused an Application with all rights, too.
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "tenant", Namespace: "tenant"},
		Spec:       v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: b.git.Repo(), Path: "tenant"}, ServiceAccountName: "deployer", Interval: &metav1.Duration{Duration: time.Second}},
	}
	if err := gitops.EnsureRoot(t.Context(), b.cluster.System, app); err != nil {
		t.Fatal(err)
	}
	b.findIn("tenant", "tenant", "it is refused", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && strings.Contains(c.Message, "tenant/app.yaml:1: Application tenant/all") && strings.Contains(c.Message, "spec.serviceAccountName: without it")
	})
	// Who may write it can ask it to look again, though not change what it applies.
	clients, err := client.New(b.cluster.User(t, "eve"))
	if err != nil {
		t.Fatal(err)
	}
	patch := func(body string) error {
		_, err := clients.In("tenant").Patch(t.Context(), "tenant", types.MergePatchType, []byte(body), metav1.PatchOptions{})
		return err
	}
	if err := patch(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"1"}}}`); err != nil {
		t.Errorf("a request to look: %v", err)
	}
	if err := patch(`{"spec":{"source":{"path":"all"}}}`); !apierrors.IsForbidden(err) {
		t.Errorf("another path: %v, want forbidden", err)
	}
}

// To delete an Application is to have what it brought deleted, with its rights.
func TestNobodyDeletesByAnApplicationWhatHeMayNotDeleteHimself(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/tenant.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: tenant}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: deployer, namespace: tenant}\n"
	for user, role := range map[string]string{"bob": "system:aggregate-to-edit", "eve": "writer", "tom": "cluster-admin"} {
		files["deploy/"+user+".yaml"] = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: " + user + ", namespace: tenant}\n" +
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: '" + role + "'}\nsubjects: [{kind: User, name: " + user + ", apiGroup: rbac.authorization.k8s.io}]\n"
	}
	files["deploy/writer.yaml"] = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: writer}\nrules: [{apiGroups: [gitopsd.io], resources: [applications], verbs: ['*']}]\n"
	files["all/ns.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: precious}\n"
	files["own/cm.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own, namespace: tenant}\n"
	b.applied(b.push(files))
	for _, app := range []*v1alpha1.Application{
		{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: v1alpha1.ApplicationSpec{Source: v1alpha1.Source{Path: "all"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Spec: v1alpha1.ApplicationSpec{Source: v1alpha1.Source{Path: "own"}, ServiceAccountName: "deployer"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Spec: v1alpha1.ApplicationSpec{Source: v1alpha1.Source{Path: "all"}, OnDeletion: v1alpha1.DeletionKeep}},
	} {
		app.Namespace, app.Spec.Source.RepoURL = "tenant", b.git.Repo()
		if err := gitops.EnsureRoot(t.Context(), b.cluster.System, app); err != nil {
			t.Fatal(err)
		}
		b.findIn("tenant", app.Name, "it was looked at", func(a *v1alpha1.Application) bool { return a.Status.Sync != "" })
	}
	in := func(user string) client.Applications {
		t.Helper()
		clients, err := client.New(b.cluster.User(t, user))
		if err != nil {
			t.Fatal(err)
		}
		return clients.In("tenant")
	}
	try := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	for _, c := range []struct{ user, app, refused string }{
		{"bob", "all", `deleting it deletes what it brought, unless it has spec.onDeletion: keep: spec.serviceAccountName: without it the Application is applied with all rights, which user "bob" has not`},
		{"eve", "own", `user "eve" may not act as the account deployer of namespace tenant`},
		{"bob", "own", ""},
		{"eve", "kept", ""},
	} {
		err := in(c.user).Delete(t.Context(), c.app, try)
		if c.refused == "" && err != nil || c.refused != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s deletes %s: %v, want %q", c.user, c.app, err, c.refused)
		}
	}

	// Neither is there a way round: all at once, with an owner, or with the namespace.
	if err := in("eve").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=all"}); !apierrors.IsForbidden(err) {
		t.Errorf("deleting all: %v, want forbidden", err)
	}
	owner := []byte(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"none","uid":"1"}]}}`)
	if _, err := in("eve").Patch(t.Context(), "all", types.MergePatchType, owner, metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an owner that is not there: %v, want forbidden", err)
	}
	tom, err := kubernetes.NewForConfig(b.cluster.User(t, "tom"))
	if err != nil {
		t.Fatal(err)
	}
	if err := tom.CoreV1().Namespaces().Delete(t.Context(), "tenant", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "it holds the Application all: deleting it") {
		t.Errorf("deleting the namespace: %v, want forbidden", err)
	}
	if _, err := b.kube.CoreV1().Namespaces().Get(t.Context(), "precious", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

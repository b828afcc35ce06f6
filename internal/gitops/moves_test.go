package gitops_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

// another adds an Application that follows a folder of the same repository.
func (b *bench) another(name, path string) {
	b.t.Helper()
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "gitopsd-system"},
		Spec:       v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: b.git.Repo(), Path: path}},
	}
	if err := gitops.EnsureRoot(b.t.Context(), b.cluster.System, app); err != nil {
		b.t.Fatal(err)
	}
}

// Whichever of the two Applications reads the commit first, the object is handed over as it is. The names decide in which order their passes begin, so both are tried.
func TestAnObjectThatMovesToAnotherApplicationIsNotDeleted(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["other/own.yaml"] = configMap("own", "", "1")
	files["deploy/data.yaml"] = configMap("data", "", "1")
	commit := b.push(files)
	b.applied(commit)
	b.another("other", "other")
	both := func(commit string) {
		t.Helper()
		b.applied(commit)
		b.find("other", "commit "+commit+" is applied", func(a *v1alpha1.Application) bool {
			return a.Status.AppliedRevision == commit && a.Status.Sync == "Synced"
		})
	}
	both(commit)
	data, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "data", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	from, to := "deploy", "other"
	for range 6 {
		files[to+"/data.yaml"] = files[from+"/data.yaml"]
		delete(files, from+"/data.yaml")
		both(b.push(files))
		now, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "data", metav1.GetOptions{})
		if err != nil || now.UID != data.UID {
			t.Fatalf("moved from %s to %s: %v; UID %s, was %s", from, to, err, now.UID, data.UID)
		}
		from, to = to, from
	}
	for _, name := range []string{"shop", "other"} {
		app, err := b.apps.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range app.Status.History {
			if h.Result != "Applied" {
				t.Errorf("history of %s: %+v", name, h)
			}
		}
	}
	b.eventually("Moved", "ConfigMap shop/data belongs to Application gitopsd-system/other now")
	// It is not adopted: dropped from both, it goes.
	delete(files, from+"/data.yaml")
	both(b.push(files))
	_, err = b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "data", metav1.GetOptions{})
	b.absent(err, "the object that Git dropped")
}

func TestAnObjectThatTwoApplicationsWantStaysWithTheFirst(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["other/own.yaml"] = configMap("own", "", "1")
	commit := b.push(files)
	b.applied(commit)
	b.another("other", "other")
	b.find("other", "it is applied", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == commit })
	files["other/service.yaml"] = service
	b.applied(b.push(files))
	app := b.find("other", "it is refused", func(a *v1alpha1.Application) bool { return a.Status.Sync == "Failed" })
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "other/service.yaml:1: Service shop/web: belongs to Application gitopsd-system/shop") {
		t.Errorf("message %s", c.Message)
	}
	// Once the first lets go, the second takes it over without being asked again.
	delete(files, "deploy/service.yaml")
	was, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	commit = b.push(files)
	b.applied(commit)
	b.find("other", "it has taken over", func(a *v1alpha1.Application) bool {
		return a.Status.AppliedRevision == commit && a.Status.Sync == "Synced"
	})
	if now, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{}); err != nil || now.UID != was.UID {
		t.Errorf("%v; the Service was made anew", err)
	}
}

// A tenant that names another's object in its own repository does not get it when the other drops it.
func TestAnObjectDoesNotMoveToAnApplicationWhoseAccountMayNotWriteIt(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/data.yaml"] = configMap("data", "", "1")
	files["tenant/own.yaml"] = strings.Replace(configMap("own", "", "1"), "namespace: shop", "namespace: tenant", 1)
	files["deploy/tenant.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: tenant}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: deployer, namespace: gitopsd-system}\n" +
		"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: deployer, namespace: tenant}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: ServiceAccount, name: deployer, namespace: gitopsd-system}]\n"
	commit := b.push(files)
	b.applied(commit)
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "tenant", Namespace: "gitopsd-system"},
		Spec:       v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: b.git.Repo(), Path: "tenant"}, ServiceAccountName: "deployer"},
	}
	if err := gitops.EnsureRoot(t.Context(), b.cluster.System, app); err != nil {
		t.Fatal(err)
	}
	b.find("tenant", "it is applied", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == commit })
	files["tenant/data.yaml"] = files["deploy/data.yaml"]
	delete(files, "deploy/data.yaml")
	b.applied(b.push(files))
	_, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "data", metav1.GetOptions{})
	b.absent(err, "the object that only a tenant without the right still wants")
}

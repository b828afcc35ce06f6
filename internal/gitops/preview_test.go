package gitops_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

// preview previews what the Application follows.
func (b *bench) preview(name string) (*gitops.Preview, error) {
	b.t.Helper()
	app := b.find(name, "it is there", func(*v1alpha1.Application) bool { return true })
	return gitops.PreviewRef(b.t.Context(), b.cluster.System, app, app.Spec.Source.Ref)
}

// What the engine refuses for what would be lost, a preview of the same commit says as well.
func TestAPreviewRefusesACommitThatWouldPruneEverything(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	app := b.refused(b.push(map[string]string{"deploy/README.md": "moved"}))
	p, err := b.preview("shop")
	if !gitops.Refused(err) || !strings.Contains(err.Error(), `path "deploy" holds no objects any more, which would prune all 3`) {
		t.Errorf("preview of the ref: %v", err)
	} else if n := p.Plan().Count(diff.Prune); n != 3 {
		t.Errorf("%d objects would be pruned, want 3", n)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte("moved"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := gitops.PreviewFolder(t.Context(), b.cluster.System, app, dir); !gitops.Refused(err) {
		t.Errorf("preview of an empty folder: %v", err)
	}
	// A look at the differences shows them; whether they may be applied is no question of it.
	if _, _, err := gitops.Look(t.Context(), b.cluster.System, app, v1alpha1.Ref{}); err != nil {
		t.Errorf("look: %v", err)
	}

	b.edit(`{"metadata":{"annotations":{"gitopsd.io/allow-empty":"true"}}}`)
	if _, err := b.preview("shop"); err != nil {
		t.Errorf("preview of what is allowed: %v", err)
	}
}

func TestAPreviewRefusesAnApplicationSetThatMatchesNothingAnyMore(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Path = "sets" })
	files := map[string]string{"apps/a/cm.yaml": configMap("a", "", "1")}
	for _, pattern := range []string{"apps/*", "app/*"} {
		files["sets/one.yaml"] = "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: one}\nspec:\n  generators:\n" +
			"  - git: {repoURL: '" + b.git.Repo() + "', directories: [{path: '" + pattern + "'}]}\n  template:\n    metadata: {name: 'one-{{path.basename}}'}\n    spec:\n" +
			"      source: {repoURL: '" + b.git.Repo() + "', path: '{{path}}'}\n      destination: {namespace: default}\n      syncPolicy: {automated: {prune: true}}\n"
		if commit := b.push(files); pattern == "apps/*" {
			b.applied(commit)
		} else {
			b.refused(commit)
		}
	}
	if _, err := b.preview("shop"); !gitops.Refused(err) || !strings.Contains(err.Error(), "sets/one.yaml:1: ApplicationSet one makes no Applications any more") {
		t.Errorf("preview: %v", err)
	}
}

func TestAPreviewTellsWhatAnotherApplicationHas(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["other/own.yaml"] = configMap("own", "", "1")
	commit := b.push(files)
	b.applied(commit)
	b.another("other", "other")
	b.find("other", "its commit is applied", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == commit })
	files["other/service.yaml"] = files["deploy/service.yaml"]
	b.push(files)
	p, err := b.preview("other")
	if err != nil {
		t.Fatal(err)
	}
	if p.Plan().Count(diff.Conflict) != 1 || !strings.Contains(p.Plan()[1].Reason, "it belongs to Application gitopsd-system/shop") {
		t.Errorf("plan %+v, want a conflict with the Application that has the Service", p.Plan())
	}
}

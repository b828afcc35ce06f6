package gitops_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

func TestBlameNamesTheCommitOfEachLineAndTheUserOfEachChange(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Drift = v1alpha1.DriftReport })
	first := b.push(shop("web:1"))
	b.applied(first)
	second := b.push(shop("web:2"))
	// A third commit touches the file and nothing that is above the comment.
	files := shop("web:2")
	files["deploy/web.yaml"] = "# the web\n" + files["deploy/web.yaml"]
	app := b.applied(b.push(files))
	if _, err := b.as("alice").AppsV1().Deployments("shop").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":6,"paused":true}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	const image, selector = `spec.template.spec.containers[name="web"].image`, "spec.selector"
	got := b.blame(app, image, selector)
	if f := got[image]; f.From != "git" || f.Commit != second || f.File != "deploy/web.yaml" || f.Line != 15 || f.Author == "" || f.Time == nil {
		t.Errorf("the image is blamed as %+v, want commit %s at line 15", f, second)
	}
	if f := got[selector]; f.Commit != first {
		t.Errorf("the selector is blamed as %+v, want the first commit %s", f, first)
	}
	for _, field := range []string{"spec.replicas", "spec.paused"} {
		if f := got[field]; f.From != "manager" || f.User != "alice" || f.Manager != "kubectl-edit" || f.Time == nil {
			t.Errorf("%s is blamed as %+v, want alice with kubectl-edit", field, f)
		}
	}
	if f := got["spec.progressDeadlineSeconds"]; f.From != "default" {
		t.Errorf("what nobody set is blamed as %+v", f)
	}
}

// blame is who set what of the Deployment web; the fields are those whose lines are traced.
func (b *bench) blame(app *v1alpha1.Application, fields ...string) map[string]cli.BlameField {
	b.t.Helper()
	objects, err := dynamic.NewForConfig(b.cluster.System)
	if err != nil {
		b.t.Fatal(err)
	}
	live, err := objects.Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace("shop").Get(b.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	ref := v1alpha1.ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: "web"}
	blamed, err := gitops.Blame(b.t.Context(), b.cluster.System, app, diff.KeyOf(ref), fields)
	if err != nil {
		b.t.Fatal(err)
	}
	got := map[string]cli.BlameField{}
	for _, f := range cli.NewBlameReport(ref, live, blamed.Line, "").Fields {
		got[f.Field] = f
	}
	return got
}

func TestBlameOfAChartNamesTheCommitOfTheValuesLine(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.TargetNamespace = "shop"
		a.Spec.Source.Helm = &v1alpha1.Helm{ValuesFiles: []string{"values-prod.yaml"}}
	})
	files := chartFiles()
	files["deploy/templates/web.yaml"] = strings.Replace(files["deploy/templates/web.yaml"], "replicas: 0", "replicas: {{ .Values.replicas | default 0 }}", 1)
	first := b.push(files)
	b.applied(first)
	files["deploy/values-prod.yaml"] = "size: 3\nimage: web:2\n"
	second := b.push(files)
	app := b.applied(second)
	const image, replicas = `spec.template.spec.containers[name="web"].image`, "spec.replicas"
	got := b.blame(app, image, replicas)
	if f := got[image]; f.Commit != second || f.File != "deploy/values-prod.yaml" || f.Line != 2 || f.Author == "" {
		t.Errorf("the image is blamed as %+v, want commit %s at deploy/values-prod.yaml:2", f, second)
	}
	if f := got[replicas]; f.Commit != first || f.File != "deploy/templates/web.yaml" || f.Line != 6 {
		t.Errorf("the replicas, which no values set, are blamed as %+v, want commit %s at deploy/templates/web.yaml:6", f, first)
	}
}

func TestALookShowsWhatAMergeWouldDoAndNoSecret(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Drift = v1alpha1.DriftReport })
	files := shop("web:1")
	files["deploy/secret.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: shop}\nstringData: {a: hunter2, b: same}\n"
	app := b.applied(b.push(files))
	if _, err := b.kube.CoreV1().Secrets("shop").Patch(t.Context(), "key", types.StrategicMergePatchType, []byte(`{"data":{"a":"b3RoZXI="}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.as("alice").AppsV1().Deployments("shop").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":6}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	delete(files, "deploy/service.yaml")
	files["deploy/web.yaml"] = web("web:2")
	b.repo.PushTo("next", files)
	p, commit, err := gitops.Look(t.Context(), b.cluster.System, app, v1alpha1.Ref{Branch: "next"})
	if err != nil {
		t.Fatal(err)
	}
	r := cli.DiffReport{From: "live", To: "git " + commit.Hash[:12]}
	for _, s := range p.Plan() {
		before, after := p.States(s)
		if err := r.Add(diff.KeyOf(s.Ref).String(), string(s.Action), "", 0, before, after); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	if err := cli.WriteDiff(&text, r, cli.Table, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"--- live: Deployment shop/web", "-  replicas: 6\n+  replicas: 0\n", "-      - image: web:1\n+      - image: web:2\n",
		"--- live: Service shop/web\n+++ /dev/null\n", "-  a: (hidden)\n+  a: (hidden), changed\n", "   b: (hidden)\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the difference lacks %q", want)
		}
	}
	if len(r.Objects) != 3 || strings.Contains(text.String(), "uid:") || strings.Contains(text.String(), "aHVudGVyMg") || strings.Contains(text.String(), "b3RoZXI") {
		t.Errorf("%d objects differ, want 3, without a Secret's values and what only the server says", len(r.Objects))
	}
	if t.Failed() {
		t.Log(text.String())
	}
}

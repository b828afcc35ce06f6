package gitops_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// chartFiles are a chart in the folder deploy that defines a kind, has an object of it, and a Deployment.
func chartFiles() map[string]string {
	return map[string]string{
		"deploy/Chart.yaml":             "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"deploy/values.yaml":            "image: web:1\nsize: 2\n",
		"deploy/values-prod.yaml":       "size: 3\n",
		"deploy/crds/widgets.yaml":      widgets("size"),
		"deploy/templates/_helpers.tpl": "{{- define \"name\" }}{{ .Release.Name }}-web{{ end }}",
		"deploy/templates/widget.yaml":  "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: {{ .Release.Namespace }}}\nspec: {size: {{ .Values.size }}}\n",
		"deploy/templates/web.yaml":     strings.Replace(web("{{ .Values.image }}"), "  namespace: shop\n", "", 1),
		"deploy/templates/NOTES.txt":    "Thank you.\n",
		"deploy/templates/test.yaml":    "apiVersion: v1\nkind: Pod\nmetadata: {name: test, annotations: {helm.sh/hook: test}}\nspec: {containers: [{name: t, image: t}]}\n",
		"deploy/templates/ns.yaml":      namespace,
		"deploy/files/readme.md":        "Files that are no manifests may be there, too.\n",
	}
}

func TestAChartIsRenderedWithTheApplicationsValuesAndItsKindsComeFirst(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.TargetNamespace = "shop"
		a.Spec.Source.Helm = &v1alpha1.Helm{ValuesFiles: []string{"values-prod.yaml"}, Values: &runtime.RawExtension{Raw: []byte(`{"image":"web:9"}`)}}
	})
	app := b.applied(b.push(chartFiles()))
	if n := len(app.Status.Inventory); n != 4 {
		t.Errorf("%d objects in the inventory, want the definition, the Widget, the Deployment and the Namespace: %v", n, app.Status.Inventory)
	}
	if got := b.size(); got != int64(3) {
		t.Errorf("size %v, want 3 from values-prod.yaml", got)
	}
	if got := b.deployment().Spec.Template.Spec.Containers[0].Image; got != "web:9" {
		t.Errorf("image %s, want that of the Application's values", got)
	}

	// Other values are another revision, without a commit.
	b.edit(`{"spec":{"source":{"helm":{"values":{"image":"web:10"}}}}}`)
	b.until("the new values are applied", func(*v1alpha1.Application) bool {
		return b.deployment().Spec.Template.Spec.Containers[0].Image == "web:10"
	})

	// After a start the last good revision is rendered again from what the status says.
	b.halt()
	b.run()
	files := chartFiles()
	files["deploy/templates/web.yaml"] = strings.Replace(files["deploy/templates/web.yaml"], "replicas: 0", "replicas: {{ fail \"no number\" }}", 1)
	bad := b.push(files)
	refused := b.refused(bad)
	message := ""
	for _, c := range refused.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady {
			message = c.Message
		}
	}
	if !strings.Contains(message, "deploy/templates/web.yaml:6:") || !strings.Contains(message, "no number") {
		t.Errorf("the message does not say where and what:\n%s", message)
	}
	if got := b.deployment().Spec.Template.Spec.Containers[0].Image; got != "web:10" {
		t.Errorf("image %s after a commit that does not render", got)
	}
}

func TestDriftOfAChartsObjectIsSetBackAndNamesTheTemplate(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.TargetNamespace = "shop" })
	b.applied(b.push(chartFiles()))
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	app := b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	if d := app.Status.Reverted[0]; d.Field != "spec.replicas" || d.File != "deploy/templates/web.yaml" || d.Line != 0 {
		t.Errorf("reverted %+v, want spec.replicas of deploy/templates/web.yaml", d)
	}
}

func TestChartSettingsWithoutAChartAreRefused(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Helm = &v1alpha1.Helm{ReleaseName: "x"} })
	app := b.refused(b.push(shop("web:1")))
	for _, c := range app.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady && !strings.Contains(c.Message, "spec.source.helm") {
			t.Errorf("message %q", c.Message)
		}
	}
}

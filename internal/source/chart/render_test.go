package chart_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
)

// files of a chart in the folder deploy/web.
func web(change map[string]string) []source.File {
	all := map[string]string{
		"deploy/web/Chart.yaml":  "apiVersion: v2\nname: web\nversion: 1.2.3\nappVersion: \"9\"\n",
		"deploy/web/values.yaml": "image: web:v1\nreplicas: 1\nlabels: {tier: front, team: shop}\n",
		"deploy/web/templates/_names.tpl": `{{- define "web.name" -}}{{ .Release.Name }}-{{ .Chart.Name }}{{- end -}}
`,
		"deploy/web/templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "web.name" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- toYaml .Values.labels | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  template: {spec: {containers: [{name: web, image: {{ .Values.image | quote }}}]}}
`,
		"deploy/web/templates/NOTES.txt":    "Thank you for installing {{ .Chart.Name }}.\n",
		"deploy/web/templates/nothing.yaml": "{{- if .Values.extra }}\nkind: Extra\n{{- end }}\n",
	}
	maps.Copy(all, change)
	var out []source.File
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] != "" {
			out = append(out, source.File{Path: name, Data: []byte(all[name])})
		}
	}
	return out
}

func render(t *testing.T, files []source.File, r chart.Release) ([]*source.Object, error) {
	t.Helper()
	if r.Name == "" {
		r.Name, r.Namespace = "shop", "shop-ns"
	}
	rendered, err := chart.Render(context.Background(), files, "deploy/web", r)
	if err != nil {
		return nil, err
	}
	return source.Parse(rendered, source.From{Commit: "c", Omit: chart.Omit})
}

// summary is "file: Kind namespace/name", in order.
func summary(objects []*source.Object) []string {
	var out []string
	for _, o := range objects {
		out = append(out, o.Position()+": "+o.String())
	}
	return out
}

func TestAChartBecomesObjectsThatKnowTheirTemplates(t *testing.T) {
	objects, err := render(t, web(nil), chart.Release{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"deploy/web/templates/deployment.yaml:1: Deployment shop-ns/shop-web"}, summary(objects)); d != "" {
		t.Fatal(d)
	}
	if v, _ := objects[0].Value("spec.template.spec.containers[0].image"); v != "web:v1" {
		t.Errorf("image %v", v)
	}
}

func TestValuesOverrideThoseOfFilesAndFilesThoseOfTheChart(t *testing.T) {
	files := web(map[string]string{
		"deploy/web/values-big.yaml": "replicas: 5\nimage: web:big\nlabels: {tier: back}\n",
		"deploy/web/values-eu.yaml":  "image: web:eu\n",
	})
	var given []source.File
	for _, name := range []string{"deploy/web/values-big.yaml", "deploy/web/values-eu.yaml"} {
		given = append(given, files[slices.IndexFunc(files, func(f source.File) bool { return f.Path == name })])
	}
	values, err := chart.Values(given, []byte(`{"labels":{"team":null,"x":"y"}}`))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := render(t, files, chart.Release{Name: "r", Namespace: "ns", Values: values})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, field := range []string{"spec.replicas", "spec.template.spec.containers[0].image", "metadata.labels"} {
		got[field], _ = objects[0].Value(field)
	}
	// A value of null takes the chart's away.
	want := map[string]any{
		"spec.replicas": int64(5), "spec.template.spec.containers[0].image": "web:eu", "metadata.labels": map[string]any{"tier": "back", "x": "y"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDefinitionsOfKindsComeFirstAsTheyAreAndWithTheirLines(t *testing.T) {
	crd := "# {{ not a template }}\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.com}\n"
	objects, err := render(t, web(map[string]string{
		"deploy/web/crds/widget.yaml":              crd,
		"deploy/web/charts/sub/Chart.yaml":         "apiVersion: v2\nname: sub\nversion: 0.1.0\n",
		"deploy/web/charts/sub/templates/cm.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Values.name | default \"sub\" }}}\n",
		"deploy/web/charts/sub/crds/gadget.yaml":   strings.ReplaceAll(crd, "widgets", "gadgets"),
		"deploy/web/templates/several/listed.yaml": "apiVersion: v1\nkind: ConfigMapList\nitems:\n{{- range list \"a\" \"b\" }}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: {{ . }}}}\n{{- end }}\n",
	}), chart.Release{Name: "r", Namespace: "ns", Values: map[string]any{"sub": map[string]any{"name": "renamed"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"deploy/web/crds/widget.yaml:2: CustomResourceDefinition widgets.example.com",
		"deploy/web/charts/sub/crds/gadget.yaml:2: CustomResourceDefinition gadgets.example.com",
		"deploy/web/charts/sub/templates/cm.yaml:1: ConfigMap renamed",
		"deploy/web/templates/deployment.yaml:1: Deployment ns/r-web",
		"deploy/web/templates/several/listed.yaml:5: ConfigMap a",
		"deploy/web/templates/several/listed.yaml:5: ConfigMap b",
	}
	if d := cmp.Diff(want, summary(objects)); d != "" {
		t.Error(d)
	}
}

func TestHooksOfAnInstallationAreObjectsAndThoseOfTestsAreNot(t *testing.T) {
	job := func(name, hook string) string {
		return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: " + name + ", annotations: {helm.sh/hook: \"" + hook + "\"}}\n---\n"
	}
	objects, err := render(t, web(map[string]string{
		"deploy/web/templates/deployment.yaml": "",
		"deploy/web/templates/hooks.yaml":      job("migrate", "pre-install, pre-upgrade") + job("check", "test") + job("bye", "post-delete,pre-rollback") + job("both", "test,post-install"),
	}), chart.Release{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"deploy/web/templates/hooks.yaml:1: Job migrate", "deploy/web/templates/hooks.yaml:13: Job both"}, summary(objects)); d != "" {
		t.Error(d)
	}
}

func TestWhatIsWrongWithAChartIsSaidWithFileAndLine(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]string
		r      chart.Release
		want   []string
	}{
		{"a template that does not parse", map[string]string{"deploy/web/templates/bad.yaml": "a: 1\nb: {{ if }}\n"}, chart.Release{}, []string{"deploy/web/templates/bad.yaml:2: ", "missing value for if"}},
		{"a value that is required", map[string]string{"deploy/web/templates/bad.yaml": "a: 1\n\nb: {{ required \"give a host\" .Values.host }}\n"}, chart.Release{}, []string{"deploy/web/templates/bad.yaml:3:", "give a host"}},
		{"a failing function in another file", map[string]string{
			"deploy/web/templates/_x.tpl": "{{ define \"x\" }}\n{{ .Values.image.tag.deep }}\n{{ end }}\n", "deploy/web/templates/bad.yaml": "b: {{ include \"x\" . }}\n",
		}, chart.Release{}, []string{"deploy/web/templates/_x.tpl:2:"}},
		{"YAML that a template makes", map[string]string{"deploy/web/templates/bad.yaml": "apiVersion: v1\nkind: {{ .Values.image }}: x\n"}, chart.Release{}, []string{"deploy/web/templates/bad.yaml:2: line 2 of what the template makes: "}},
		{"an object without a name", map[string]string{"deploy/web/templates/bad.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n"}, chart.Release{}, []string{"deploy/web/templates/bad.yaml:3: ConfigMap: metadata.name"}},
		{"a dependency that is not committed", map[string]string{"deploy/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: redis, version: 1.x.x, repository: https://charts.example.com}]\n"}, chart.Release{}, []string{"deploy/web/Chart.yaml: ", "redis", "helm dependency build"}},
		{"a library", map[string]string{"deploy/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\ntype: library\n"}, chart.Release{}, []string{"deploy/web/Chart.yaml: ", "library"}},
		{"no version", map[string]string{"deploy/web/Chart.yaml": "apiVersion: v2\nname: web\n"}, chart.Release{}, []string{"deploy/web/Chart.yaml: ", "version"}},
		{"another Kubernetes", map[string]string{"deploy/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\nkubeVersion: \"< 1.20\"\n"}, chart.Release{Name: "r", Cluster: chart.Cluster{KubeVersion: "v1.37.2+gitopsd"}}, []string{"deploy/web/Chart.yaml: ", "< 1.20", "v1.37.2"}},
		{"values against the schema", map[string]string{"deploy/web/values.schema.json": `{"type":"object","properties":{"replicas":{"type":"integer","maximum":3}}}`}, chart.Release{Name: "r", Values: map[string]any{"replicas": 7}}, []string{"deploy/web/values.yaml: ", "/replicas"}},
		{"a release name that cannot be", nil, chart.Release{Name: "No_Name"}, []string{"No_Name", "releaseName"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, err := render(t, web(c.change), c.r)
			if err == nil {
				t.Fatalf("it rendered %v", summary(objects))
			}
			if source.ReasonOf(err) != source.InvalidManifest {
				t.Errorf("reason %s, want %s", source.ReasonOf(err), source.InvalidManifest)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

func FuzzNoTemplateEndsTheProcess(f *testing.F) {
	for _, s := range []string{"{{ .Values.image }}", "{{ range $i := until 3 }}a{{ end }}", "{{ include \"web.name\" . }}", "{{ tpl .Values.x . }}", "{{", "---\n---\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || strings.Contains(text, "range") && len(text) > 60 {
			t.Skip() // a loop may be long; that is bounded by time, not here
		}
		files := web(map[string]string{"deploy/web/templates/fuzz.yaml": text})
		if rendered, err := chart.Render(context.Background(), files, "deploy/web", chart.Release{Name: "r", Namespace: "ns"}); err == nil {
			_, _ = source.Parse(rendered, source.From{})
		}
	})
}

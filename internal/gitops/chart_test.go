package gitops_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

func TestDriftOfAChartsObjectIsSetBackAndNamesTheTemplatesLine(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.TargetNamespace = "shop" })
	b.applied(b.push(chartFiles()))
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	app := b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	if d := app.Status.Reverted[0]; d.Field != "spec.replicas" || d.File != "deploy/templates/web.yaml" || d.Line != 6 {
		t.Errorf("reverted %+v, want spec.replicas of deploy/templates/web.yaml:6", d)
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

// charts is a Helm repository with the chart web, which has a ConfigMap.
type charts struct {
	url string
	// secret is what a Secret for it holds: nobody else is answered.
	secret map[string]string
	// down lets it fail; newer is a version beside 1.0.0.
	down  atomic.Bool
	newer atomic.Value
}

// archive is a version of the chart.
func (c *charts) archive(t *testing.T, version string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{
		"web/Chart.yaml":        "apiVersion: v2\nname: web\nversion: " + version + "\n",
		"web/templates/ns.yaml": namespace,
		"web/templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {colour: {{ .Values.colour }}, chart: {{ .Chart.Version }}}\n",
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func chartHost(t *testing.T) *charts {
	t.Helper()
	c := &charts{}
	c.newer.Store("")
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		switch {
		case c.down.Load():
			http.Error(w, "down", http.StatusServiceUnavailable)
		case password != "s3cret":
			http.Error(w, "no", http.StatusUnauthorized)
		case r.URL.Path == "/index.yaml":
			index := "apiVersion: v1\nentries:\n  web:\n  - {version: 1.0.0, urls: [1.0.0]}\n"
			if newer := c.newer.Load().(string); newer != "" {
				index += "  - {version: " + newer + ", urls: [" + newer + "]}\n"
			}
			_, _ = w.Write([]byte(index))
		default:
			_, _ = w.Write(c.archive(t, strings.TrimPrefix(r.URL.Path, "/")))
		}
	}))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c.url, c.secret = s.URL, map[string]string{"username": "me", "password": "s3cret", "caFile": string(ca)}
	return c
}

func TestAChartOfAHelmRepositoryIsFetchedWithItsCredentialsAndWhyItCannotBeIsTold(t *testing.T) {
	host := chartHost(t)
	host.down.Store(true)
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.TargetNamespace = "shop"
		a.Spec.Source.Helm = &v1alpha1.Helm{ValuesFiles: []string{"values.yaml"}, Chart: &v1alpha1.HelmChart{
			HelmRepository: v1alpha1.HelmRepository{URL: host.url, SecretRef: &corev1.LocalObjectReference{Name: "charts"}}, Name: "web", Version: "1.0.0",
		}}
	})
	if _, err := b.kube.CoreV1().Secrets("gitopsd-system").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "charts"}, StringData: host.secret}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	commit := b.push(map[string]string{"deploy/values.yaml": "colour: red\n"})
	b.sourceFails("RepositoryUnreachable", "chart web 1.0.0 of "+host.url)
	host.down.Store(false)
	b.tell()
	b.applied(commit)
	cm, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || cm.Data["colour"] != "red" {
		t.Errorf("the chart's ConfigMap: %v %v", cm.Data, err)
	}
}

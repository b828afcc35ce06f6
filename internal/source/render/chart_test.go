package render_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
	"github.com/gitopsd/gitopsd/internal/source/render"
)

// archive packs the chart web, with a ConfigMap that tells its version and the value of colour.
func archive(t *testing.T, version string, more map[string]string) []byte {
	t.Helper()
	files := map[string]string{
		"web/Chart.yaml":        "apiVersion: v2\nname: web\nversion: " + version + "\n",
		"web/values.yaml":       "colour: blue\n",
		"web/templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-web\ndata:\n  version: {{ .Chart.Version | quote }}\n  colour: {{ .Values.colour }}\n  ingress: {{ .Capabilities.APIVersions.Has \"networking.k8s.io/v1/Ingress\" | quote }}\n",
		"web/crds/crd.yaml":     "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.com}\n",
	}
	for name, text := range more {
		files[name] = text
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// helmRepository serves some versions of the chart to whoever has the password.
func helmRepository(t *testing.T, versions ...string) (s *httptest.Server, credentials source.Credentials, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	mux := http.NewServeMux()
	index := "apiVersion: v1\nentries:\n  web:\n"
	for _, v := range versions {
		data := archive(t, v, nil)
		sum := sha256.Sum256(data)
		index += fmt.Sprintf("  - {version: %s, urls: [archives/web-%s.tgz], digest: %s}\n", v, v, hex.EncodeToString(sum[:]))
		mux.HandleFunc("/charts/archives/web-"+v+".tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
	}
	index += "  forged:\n  - {version: 1.0.0, urls: [archives/web-1.0.0.tgz], digest: " + strings.Repeat("0", 64) + "}\n"
	mux.HandleFunc("/charts/index.yaml", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(index)) })
	s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if _, password, _ := r.BasicAuth(); password != "s3cret" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return s, source.Credentials{Username: "me", Password: "s3cret", CAFile: ca}, requests
}

// ociRegistry serves the same from a registry, and says the digest of the first.
func ociRegistry(t *testing.T, versions ...string) (prefix, digest string) {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(testWriter{t}, "", 0))))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	for _, v := range versions {
		image, err := mutate.AppendLayers(empty.Image, static.NewLayer(archive(t, v, nil), "application/vnd.cncf.helm.chart.content.v1.tar+gzip"))
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(host + "/charts/web:" + strings.ReplaceAll(v, "+", "_"))
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
		if digest == "" {
			d, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			digest = d.String()
		}
	}
	return "oci://" + host + "/charts", digest
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) { w.t.Log(string(b)); return len(b), nil }

func TestChartsComeFromRepositoriesAndRegistries(t *testing.T) {
	repository, credentials, requests := helmRepository(t, "1.0.0", "1.2.0", "2.0.0", "2.1.0-rc.1")
	url := repository.URL + "/charts"
	oci, digest := ociRegistry(t, "1.0.0", "1.5.0+build.1", "2.0.0")
	tree := fstest.MapFS{
		"deploy/values.yaml":          {Data: []byte("colour: green\n")},
		"shared/eu.yaml":              {Data: []byte("colour: red\n")},
		"chart/Chart.yaml":            {Data: []byte("apiVersion: v2\nname: top\nversion: 0.1.0\ndependencies:\n- {name: web, version: 1.x, repository: \"" + url + "\"}\n- {name: local, version: \"*\", repository: \"file://../local\", condition: local.enabled}\n")},
		"chart/values.yaml":           {Data: []byte("local: {enabled: true}\n")},
		"local/Chart.yaml":            {Data: []byte("apiVersion: v2\nname: local\nversion: 0.1.0\n")},
		"local/templates/cm.yaml":     {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: local}\n")},
		"locked/Chart.yaml":           {Data: []byte("apiVersion: v2\nname: top\nversion: 0.1.0\ndependencies:\n- {name: web, version: \">0\", repository: \"" + url + "\"}\n")},
		"locked/Chart.lock":           {Data: []byte("dependencies:\n- {name: web, version: 1.0.0, repository: \"" + url + "\"}\n")},
		"outside/Chart.yaml":          {Data: []byte("apiVersion: v2\nname: top\nversion: 0.1.0\ndependencies:\n- {name: web, version: 1.0.0, repository: \"file://../../../etc\"}\n")},
		"notallowed/Chart.yaml":       {Data: []byte("apiVersion: v2\nname: top\nversion: 0.1.0\ndependencies:\n- {name: web, version: 1.0.0, repository: \"https://elsewhere.example.com\"}\n")},
		"chart/templates/notes.yaml":  {Data: []byte("")},
		"locked/templates/empty.yaml": {Data: []byte("")},
	}
	fetcher := &chart.Fetcher{}
	run := func(path string, h v1alpha1.Helm) (render.Output, error) {
		return render.Render(t.Context(), render.Input{
			Tree: tree, Path: path, Spec: v1alpha1.Rendering{Helm: &h}, Application: "shop", From: source.From{DefaultNamespace: "default"},
			Charts: fetcher, ChartCredentials: map[string]source.Credentials{url: credentials, oci: {Insecure: true}}, Cluster: chart.Cluster{KubeVersion: "v1.37.2", APIVersions: []string{"v1", "networking.k8s.io/v1/Ingress"}},
		})
	}
	named := func(repository, name, version string) *v1alpha1.HelmChart {
		return &v1alpha1.HelmChart{HelmRepository: v1alpha1.HelmRepository{URL: repository}, Name: name, Version: version}
	}
	allowed := []v1alpha1.HelmRepository{{URL: url + "/"}}
	for _, c := range []struct {
		name, path string
		helm       v1alpha1.Helm
		want       string // version and colour of the ConfigMap
		remote     bool
	}{
		{"a version of a repository", "deploy", v1alpha1.Helm{Chart: named(url, "web", "1.0.0")}, "1.0.0 blue", false},
		{"a range, with values of Git", "deploy", v1alpha1.Helm{Chart: named(url, "web", "1.x"), ValuesFiles: []string{"values.yaml", "missing.yaml"}, IgnoreMissingValuesFiles: true}, "1.2.0 green", true},
		{"values from the root, and the Application's", "deploy", v1alpha1.Helm{Chart: named(url, "web", "*"), ValuesFiles: []string{"/shared/eu.yaml"}}, "2.0.0 red", true},
		{"the Application's values win", "deploy", v1alpha1.Helm{Chart: named(url, "web", "2.0.0"), ValuesFiles: []string{"/shared/eu.yaml"}, Values: &runtime.RawExtension{Raw: []byte(`{"colour":"black"}`)}}, "2.0.0 black", false},
		{"a version of a registry", "deploy", v1alpha1.Helm{Chart: named(oci, "web", "2.0.0")}, "2.0.0 blue", false},
		{"a version with metadata", "deploy", v1alpha1.Helm{Chart: named(oci, "web", "1.5.0+build.1")}, "1.5.0+build.1 blue", false},
		{"a range of a registry", "deploy", v1alpha1.Helm{Chart: named(oci, "web", "<2")}, "1.5.0+build.1 blue", true},
		{"a digest", "deploy", v1alpha1.Helm{Chart: named(oci, "web", digest)}, "1.0.0 blue", false},
		{"dependencies, one of them in the commit", "chart", v1alpha1.Helm{Repositories: allowed}, "1.2.0 blue", true},
		{"locked dependencies", "locked", v1alpha1.Helm{Repositories: allowed}, "1.0.0 blue", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := run(c.path, c.helm)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, o := range out.Objects {
				if o.Name() == "shop-web" {
					version, _ := o.Value("data.version")
					colour, _ := o.Value("data.colour")
					ingress, _ := o.Value("data.ingress")
					got = fmt.Sprint(version, " ", colour)
					if ingress != "true" || !strings.HasSuffix(o.Origin.File, "/templates/cm.yaml") {
						t.Errorf("ingress %v, origin %v", ingress, o.Origin)
					}
				}
			}
			if got != c.want || out.Remote != c.remote {
				t.Errorf("%q, may change by itself: %t; want %q, %t", got, out.Remote, c.want, c.remote)
			}
		})
	}
	t.Run("dependencies from where remotes allow it", func(t *testing.T) {
		in := render.Input{
			Tree: tree, Path: "locked", Spec: v1alpha1.Rendering{Remotes: []string{"https://"}}, Application: "shop", From: source.From{DefaultNamespace: "default"},
			Charts: fetcher, ChartCredentials: map[string]source.Credentials{url: credentials},
		}
		if out, err := render.Render(t.Context(), in); err != nil || len(out.Objects) != 2 || out.Remote {
			t.Errorf("%d objects, may change by itself: %t: %v", len(out.Objects), out.Remote, err)
		}
		in.Spec.Remotes = []string{"https://example.com/"}
		if _, err := render.Render(t.Context(), in); err == nil || !strings.Contains(err.Error(), "spec.source.remotes") {
			t.Error(err)
		}
	})
	t.Run("a chart is fetched once", func(t *testing.T) {
		before := requests.Load()
		for range 10 {
			if _, err := run("deploy", v1alpha1.Helm{Chart: named(url, "web", "1.0.0"), SkipCRDs: true}); err != nil {
				t.Fatal(err)
			}
		}
		if n := requests.Load() - before; n != 0 {
			t.Errorf("%d requests for a chart that was here already", n)
		}
	})
	for _, c := range []struct {
		name, path string
		helm       v1alpha1.Helm
		want       string
	}{
		{"no such chart", "deploy", v1alpha1.Helm{Chart: named(url, "none", "1.0.0")}, "has no chart of this name"},
		{"no such version", "deploy", v1alpha1.Helm{Chart: named(url, "web", "9.x")}, "there is no such version; there are 1.0.0, 1.2.0, 2.0.0"},
		{"no range", "deploy", v1alpha1.Helm{Chart: named(url, "web", "newest")}, "neither a version nor a range"},
		{"another archive", "deploy", v1alpha1.Helm{Chart: named(url, "forged", "1.0.0")}, "not the one whose digest"},
		{"no credentials", "deploy", v1alpha1.Helm{Chart: named(url+"/x", "web", "1.0.0")}, "certificate"},
		{"no such tag", "deploy", v1alpha1.Helm{Chart: named(oci, "web", "7.0.0")}, "MANIFEST_UNKNOWN"},
		{"another scheme", "deploy", v1alpha1.Helm{Chart: named("ftp://x", "web", "1.0.0")}, "must begin with https:// or oci://"},
		{"two charts", "local", v1alpha1.Helm{Chart: named(url, "web", "1.0.0")}, "keep one of the two"},
		{"values that are not there", "deploy", v1alpha1.Helm{Chart: named(url, "web", "1.0.0"), ValuesFiles: []string{"nope.yaml"}}, "deploy/nope.yaml: spec.source.helm.valuesFiles[0]"},
		{"values outside", "deploy", v1alpha1.Helm{Chart: named(url, "web", "1.0.0"), ValuesFiles: []string{"../../etc/passwd"}}, "leads out of the repository"},
		{"a dependency outside", "outside", v1alpha1.Helm{}, "no chart in the commit"},
		{"a dependency that is not allowed", "notallowed", v1alpha1.Helm{}, "spec.source.helm.repositories"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := run(c.path, c.helm)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

func TestAnArchiveThatGrowsBeyondTheBoundIsRefused(t *testing.T) {
	bomb := archive(t, "1.0.0", map[string]string{"web/templates/bomb.yaml": strings.Repeat("a", 101<<20)})
	mux := http.NewServeMux()
	mux.HandleFunc("/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("entries: {web: [{version: 1.0.0, urls: [web.tgz]}]}"))
	})
	mux.HandleFunc("/web.tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bomb) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	_, err := new(chart.Fetcher).Fetch(t.Context(), chart.Reference{Repository: s.URL, Name: "web", Version: "1.0.0"})
	if err == nil || !strings.Contains(err.Error(), "cannot be unpacked") {
		t.Errorf("%d bytes that become 101 MiB: %v", len(bomb), err)
	}
}

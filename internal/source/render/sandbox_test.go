package render_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/render"
	"github.com/gitopsd/gitopsd/internal/source/sandbox"
)

// TestMain lets the tests render charts where gitopsd does: in a process of their own.
func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

func TestATemplateWithoutEndIsEndedAndTheNextOneIsRendered(t *testing.T) {
	renderTemplate := func(ctx context.Context, text string) (render.Output, error) {
		tree := fstest.MapFS{
			"chart/Chart.yaml":        {Data: []byte("apiVersion: v2\nname: web\nversion: 1.0.0\n")},
			"chart/templates/cm.yaml": {Data: []byte(text + "\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")},
		}
		return render.Render(ctx, render.Input{Tree: tree, Path: "chart", Application: "shop", Spec: v1alpha1.Rendering{}, From: source.From{DefaultNamespace: "default"}})
	}
	for name, c := range map[string]struct{ text, want string }{
		"a loop":                  {"{{ range 9000000000000000000 }}{{ end }}", "is there a loop in them that does not end?"},
		"a list that is too long": {"{{ range until 900000000 }}{{ end }}", "needs more than 1024 MiB"},
		"a text that is too long": {`{{ repeat 2000000000 "x" }}`, "needs more than 1024 MiB"},
		"a template in itself":    {`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`, "chart/templates/cm.yaml:1"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if name == "a loop" { // the bound of a rendering is too long for a test, so the caller's is shorter
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
			}
			_, err := renderTemplate(ctx, c.text)
			if source.ReasonOf(err) != source.InvalidManifest || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "chart/") {
				t.Errorf("%v; want %q", err, c.want)
			}
			out, err := renderTemplate(t.Context(), "# a good one")
			if err != nil || len(out.Objects) != 1 {
				t.Errorf("the next chart: %v, %v", out.Objects, err)
			}
		})
	}
}

func BenchmarkChart(b *testing.B) {
	tree := fstest.MapFS{
		"chart/Chart.yaml":        {Data: []byte("apiVersion: v2\nname: web\nversion: 1.0.0\n")},
		"chart/templates/cm.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")},
	}
	for b.Loop() {
		if _, err := render.Render(b.Context(), render.Input{Tree: tree, Path: "chart", Application: "shop"}); err != nil {
			b.Fatal(err)
		}
	}
}

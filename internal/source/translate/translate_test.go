package translate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/translate"
)

// The scripts in testdata show what becomes of Flux's and Argo CD's objects in an Application gitopsd-system/root that reads the folder clusters/staging of
// https://git.example.com/fleet.git at the branch main, with the Secret git.
//
//	commit           the files of the commit, each after a line "== path"
//	elsewhere        sources that another Application knows
//	translate [served=KIND] [had=NAMESPACE/NAME] [account=NAME]   what the cluster serves itself, an Application that was made before, and the account that the one that reads has; objects of the file fleet.yaml; prints what they become, each after the line that it has the origin of, or the errors
func TestTranslate(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &scene{elsewhere: map[string]map[string]any{}}
		datadriven.RunTest(t, path, s.run)
	})
}

type scene struct {
	tree      fstest.MapFS
	elsewhere map[string]map[string]any
}

func own() *v1alpha1.Application {
	return &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: "gitopsd-system", Name: "root"},
		Spec: v1alpha1.ApplicationSpec{Source: v1alpha1.Source{
			RepoURL: "https://git.example.com/fleet.git", Ref: v1alpha1.Ref{Branch: "main"}, Path: "clusters/staging",
			SecretRef: &corev1.LocalObjectReference{Name: "git"},
		}},
	}
}

func parse(text string) ([]*source.Object, error) {
	return source.Parse([]source.File{{Path: "fleet.yaml", Data: []byte(text)}}, source.From{Repo: "https://git.example.com/fleet.git", Commit: "c0ffee", DefaultNamespace: "default"})
}

func (s *scene) run(t *testing.T, d *datadriven.TestData) string {
	if d.Cmd == "commit" {
		s.tree = fstest.MapFS{}
		for _, part := range strings.Split("\n"+d.Input, "\n== ")[1:] {
			name, text, _ := strings.Cut(part, "\n")
			s.tree[name] = &fstest.MapFile{Data: []byte(text)}
		}
		return ""
	}
	objects, err := parse(d.Input)
	if err != nil {
		t.Fatal(err)
	}
	if d.Cmd == "elsewhere" {
		out, err := translate.Objects(t.Context(), translate.Input{Objects: objects, Own: own(), Served: s.served(""), Find: s.find})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out.Objects {
			if o.GroupVersionKind().Kind != "ConfigMap" {
				continue
			}
			data, _ := o.Content["data"].(map[string]any)
			texts := map[string]string{}
			for k, v := range data {
				texts[k], _ = v.(string)
			}
			if s.elsewhere[o.Namespace()+"/"+o.Name()], err = translate.Described(texts); err != nil {
				t.Fatal(err)
			}
		}
		return ""
	}
	app, served := own(), ""
	if d.HasArg("had") {
		var name string
		d.ScanArgs(t, "had", &name)
		namespace, name, _ := strings.Cut(name, "/")
		app.Status.Inventory = []v1alpha1.ObjectRef{{Group: "gitopsd.io", Version: "v1alpha1", Kind: "Application", Namespace: namespace, Name: name}}
	}
	if d.HasArg("served") {
		d.ScanArgs(t, "served", &served)
	}
	if d.HasArg("account") {
		d.ScanArgs(t, "account", &app.Spec.ServiceAccountName)
	}
	out, err := translate.Objects(t.Context(), translate.Input{Objects: objects, Own: app, Tree: s.tree, Served: s.served(served), Find: s.find})
	if err != nil {
		var parse source.ParseErrors
		if errors.As(err, &parse) {
			return "refused\n" + err.Error() + "\n"
		}
		return fmt.Sprintf("%s\n%v\n", source.ReasonOf(err), err)
	}
	var b strings.Builder
	for _, o := range out.Objects {
		text, err := yaml.Marshal(o.Content)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n%s", o.Position(), indent(string(text)))
	}
	if out.Found {
		b.WriteString("with a source from elsewhere\n")
	}
	return b.String()
}

func (s *scene) served(kind string) func(schema.GroupKind) (bool, error) {
	return func(gk schema.GroupKind) (bool, error) { return gk.Kind == kind, nil }
}

func (s *scene) find(_ context.Context, kind, namespace, name string) (map[string]any, error) {
	return s.elsewhere[namespace+"/"+translate.ConfigMapName(kind, name)], nil
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

// inputs are the objects of the scripts.
func inputs(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, file := range []string{"flux", "argo", "sets"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, before := range strings.Split(string(text), "\n----\n") {
			if i := strings.LastIndex("\n"+before, "\ntranslate"); i >= 0 {
				_, input, _ := strings.Cut(before[i:], "\n")
				out = append(out, input)
			}
		}
	}
	return out
}

// check translates, and sees that whatever is made is an Application that says nothing which ours cannot.
func check(t *testing.T, text string) {
	t.Helper()
	objects, err := parse(text)
	if err != nil {
		return
	}
	out, err := translate.Objects(t.Context(), translate.Input{Objects: objects, Own: own(), Tree: fstest.MapFS{}, Served: (&scene{}).served(""), Find: (&scene{}).find})
	if err != nil {
		return
	}
	for _, o := range out.Objects {
		if o.Position() == "" {
			t.Errorf("%s has no origin", o)
		}
		if o.GroupVersionKind() != v1alpha1.GroupVersion.WithKind("Application") || slices.Contains(objects, o) {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Content, &v1alpha1.Application{}, true); err != nil {
			t.Errorf("%s: %v\n%s", o, err, text)
		}
	}
}

// FuzzTranslate checks that no object of theirs, however it is written, ends the process.
func FuzzTranslate(f *testing.F) {
	for _, text := range inputs(f) {
		f.Add(text)
	}
	f.Fuzz(check)
}

// TestAFieldOfAnyTypeIsAnErrorAtWorst puts values of every type into each place of the scripts' objects.
func TestAFieldOfAnyTypeIsAnErrorAtWorst(t *testing.T) {
	values := []any{nil, "", "x", "../..", 1, -1.5, true, []any{}, []any{nil}, []any{"x"}, []any{map[string]any{}}, map[string]any{}, map[string]any{"name": map[string]any{}, "x": nil}}
	n := 0
	var each func(at any, try func())
	each = func(at any, try func()) {
		put := func(was any, set func(any)) {
			for _, v := range values {
				set(v)
				try()
				n++
			}
			set(was)
			each(was, try)
		}
		switch at := at.(type) {
		case map[string]any:
			for k, was := range at {
				put(was, func(v any) { at[k] = v })
			}
		case []any:
			for i, was := range at {
				put(was, func(v any) { at[i] = v })
			}
		}
	}
	for _, text := range inputs(t) {
		var docs []any
		for _, d := range strings.Split(text, "\n---\n") {
			var content map[string]any
			if err := yaml.Unmarshal([]byte(d), &content); err != nil {
				t.Fatal(err)
			}
			docs = append(docs, content)
		}
		each(docs, func() {
			var b strings.Builder
			for _, d := range docs {
				text, err := json.Marshal(d)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "---\n%s\n", text)
			}
			check(t, b.String())
		})
	}
	if n < 5000 {
		t.Errorf("only %d variants were tried", n)
	}
}

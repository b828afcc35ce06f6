package translate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/translate"
)

// The scripts in testdata show what becomes of Flux's and Argo CD's objects in an Application gitopsd-system/root that reads the folder clusters/staging of
// https://git.example.com/fleet.git at the branch main, with the Secret git.
//
//	elsewhere        sources that another Application knows
//	translate [served=KIND] [had=NAMESPACE/NAME]   what the cluster serves itself, and an Application that was made before; objects of the file fleet.yaml; prints what they become, each after the line that it has the origin of, or the errors
func TestTranslate(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &scene{elsewhere: map[string]map[string]any{}}
		datadriven.RunTest(t, path, s.run)
	})
}

type scene struct {
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
	out, err := translate.Objects(t.Context(), translate.Input{Objects: objects, Own: app, Served: s.served(served), Find: s.find})
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

package admission

import (
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// The scripts in testdata/drift tell what may be done to one Deployment of the Application gitops/shop, which denies drift. Field ownership is kept by the
// API server's own code.
//
//	application        fields of its spec; with deleting, it is being deleted
//	git                what Git says is applied
//	live manager=M     somebody merges something into the live object, whatever the rules say
//	try                a merge patch, and what is said to it; with delete there is none. manager=M makes it; inside: a component of this process does;
//	                   scale: through that subresource; may: the user has the verb override; unknown: no Engine knows the line
func TestDriftIsDenied(t *testing.T) {
	datadriven.Walk(t, "testdata/drift", func(t *testing.T, path string) {
		s := denial{app: &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "gitops", Name: "shop"}, Spec: v1alpha1.ApplicationSpec{Drift: v1alpha1.DriftDeny}}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

type denial struct {
	app  *v1alpha1.Application
	live *unstructured.Unstructured
}

func (s *denial) run(t *testing.T, d *datadriven.TestData) string {
	manager := "kubectl-edit"
	if d.HasArg("manager") {
		d.ScanArgs(t, "manager", &manager)
	}
	switch d.Cmd {
	case "application":
		if err := yaml.UnmarshalStrict([]byte(d.Input), &s.app.Spec); err != nil {
			return err.Error()
		}
		s.app.DeletionTimestamp = nil
		if d.HasArg("deleting") {
			s.app.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}
		return ""
	case "git":
		u := &unstructured.Unstructured{Object: read(t, d.Input)}
		m := managedfieldstest.NewTestFieldManager(applyconfigurations.NewTypeConverter(scheme.Scheme), u.GroupVersionKind())
		if err := m.Apply(u, v1alpha1.FieldManager, true); err != nil {
			return err.Error()
		}
		s.live = m.Live().(*unstructured.Unstructured)
		return ""
	case "live":
		s.live = s.patched(t, d.Input, manager)
		return ""
	case "try":
		a := attempt{app: s.app, live: s.live, inside: d.HasArg("inside"), scale: d.HasArg("scale"), manager: manager,
			ref: v1alpha1.ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: "web"}}
		if !d.HasArg("delete") {
			a.next = s.patched(t, d.Input, manager)
		}
		where := Where(func(_, _ string, _ v1alpha1.ObjectRef, field string) (string, int) {
			return "deploy/web.yaml", len(field)
		})
		if d.HasArg("unknown") {
			where = nil
		}
		if err := examine(a).objection(a, d.HasArg("may"), where); err != nil {
			return strings.ReplaceAll(err.Error(), "; ", ";\n") + "\n"
		}
		return "allowed\n"
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func (s *denial) patched(t *testing.T, patch, manager string) *unstructured.Unstructured {
	t.Helper()
	m := managedfieldstest.NewTestFieldManager(applyconfigurations.NewTypeConverter(scheme.Scheme), s.live.GroupVersionKind())
	if err := m.Update(s.live.DeepCopy(), "loader"); err != nil { // it takes over the managedFields that the object carries
		t.Fatal(err)
	}
	next := s.live.DeepCopy()
	mergeInto(next.Object, read(t, patch))
	if err := m.Update(next, manager); err != nil {
		t.Fatal(err)
	}
	return m.Live().(*unstructured.Unstructured)
}

func read(t *testing.T, text string) map[string]any {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte("kind: Deployment\napiVersion: apps/v1\n" + text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(j); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return u.Object
}

// mergeInto is a JSON merge patch.
func mergeInto(into, patch map[string]any) {
	for k, v := range patch {
		m, isMap := v.(map[string]any)
		old, wasMap := into[k].(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case isMap && wasMap:
			mergeInto(old, m)
		default:
			into[k] = v
		}
	}
}

package gitops_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

// widgets defines the kind Widget, whose spec has these fields.
func widgets(fields ...string) string {
	var b strings.Builder
	b.WriteString(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
`)
	for _, f := range fields {
		b.WriteString("              " + f + ": {type: integer, maximum: 10}\n")
	}
	return b.String()
}

func widget(spec string) string {
	return "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: w\n  namespace: shop\nspec:\n  " + spec + "\n"
}

func (b *bench) widget() (*unstructured.Unstructured, error) {
	b.t.Helper()
	d, err := dynamic.NewForConfig(b.cluster.System)
	if err != nil {
		b.t.Fatal(err)
	}
	return d.Resource(widgetResource).Namespace("shop").Get(b.t.Context(), "w", metav1.GetOptions{})
}

var widgetResource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// define gives the cluster a definition that no commit has, as an operator does while it runs.
func (b *bench) define(definition string) {
	b.t.Helper()
	d, err := dynamic.NewForConfig(b.cluster.System)
	if err != nil {
		b.t.Fatal(err)
	}
	var u unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(definition), &u.Object); err != nil {
		b.t.Fatal(err)
	}
	if _, err := d.Resource(definitions).Create(b.t.Context(), &u, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) size() any {
	b.t.Helper()
	w, err := b.widget()
	if err != nil {
		b.t.Fatal(err)
	}
	v, _, err := unstructured.NestedFieldNoCopy(w.Object, "spec", "size")
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func TestAKindItsNamespaceAndItsObjectsComeInOneCommitAndGoInOne(t *testing.T) {
	b := start(t, nil)
	files := map[string]string{"deploy/a-widget.yaml": widget("size: 3"), "deploy/namespace.yaml": namespace, "deploy/z-definition.yaml": widgets("size")}
	app := b.applied(b.push(files))
	if n := len(app.Status.Inventory); n != 3 {
		t.Errorf("%d objects in the inventory, want 3: %v", n, app.Status.Inventory)
	}
	if got := b.size(); got != int64(3) {
		t.Errorf("size %v, want 3", got)
	}
	b.applied(b.push(map[string]string{"deploy/namespace.yaml": namespace}))
	if _, err := b.widget(); !apierrors.IsNotFound(err) {
		t.Errorf("after Git dropped the kind and its objects: %v, want not found", err)
	}
}

func TestADefinitionAndTheObjectThatNeedsItsChangeComeInOneCommit(t *testing.T) {
	b := start(t, nil)
	files := map[string]string{"deploy/namespace.yaml": namespace, "deploy/definition.yaml": widgets("size"), "deploy/widget.yaml": widget("size: 3")}
	b.applied(b.push(files))
	files["deploy/definition.yaml"], files["deploy/widget.yaml"] = widgets("size", "colour"), widget("{size: 4, colour: 5}")
	b.applied(b.push(files))
	w, err := b.widget()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]any{"size": int64(4), "colour": int64(5)}, w.Object["spec"]); d != "" {
		t.Error(d)
	}
}

// The storage of custom resources and of their definitions is the library's, which notes nobody.
func TestWhoChangedACustomResourceOrItsDefinitionIsKnown(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Drift = v1alpha1.DriftReport })
	b.applied(b.push(map[string]string{"deploy/namespace.yaml": namespace, "deploy/definition.yaml": widgets("size"), "deploy/widget.yaml": widget("size: 3")}))
	alice, err := dynamic.NewForConfig(b.cluster.User(t, "alice", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Resource(widgetResource).Namespace("shop").Patch(t.Context(), "w", types.MergePatchType, []byte(`{"spec":{"size":5}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Resource(definitions).Patch(t.Context(), "widgets.example.com", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/maximum","value":20}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	app := b.until("both are reported", func(a *v1alpha1.Application) bool { return len(a.Status.Drift) == 2 })
	for _, d := range app.Status.Drift {
		if d.User != "alice" {
			t.Errorf("%s: %s was changed by %q", diff.KeyOf(d.ObjectRef), d.Field, d.User)
		}
	}
	if _, err := alice.Resource(widgetResource).Namespace("shop").Patch(t.Context(), "w", types.MergePatchType, []byte(`{"metadata":{"annotations":{"gitopsd.io/changed-by":"{\"user\":\"bob\"}"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w, err := b.widget()
	if err != nil {
		t.Fatal(err)
	}
	if note := w.GetAnnotations()[v1alpha1.AnnotationChangedBy]; !strings.Contains(note, `"alice"`) {
		t.Errorf("somebody else can be named: %s", note)
	}
}

func TestAnObjectThatItsOwnDefinitionRefusesIsToldWithItsLine(t *testing.T) {
	for name, c := range map[string]struct{ before, file, content, want string }{
		"the definition is there already": {"size: 1", "deploy/widget.yaml", widget("size: 30"), "deploy/widget.yaml:7: Widget shop/w: spec.size: "},
		"the definition comes with it":    {"", "deploy/widget.yaml", widget("size: 30"), "deploy/widget.yaml:7: Widget shop/w: spec.size: "},
		"a field that it does not have":   {"size: 1", "deploy/widget.yaml", widget("sise: 3"), "deploy/widget.yaml:7: Widget shop/w: spec.sise: "},
		"a kind that nobody defines":      {"size: 1", "deploy/gadget.yaml", strings.ReplaceAll(widget("size: 1"), "Widget", "Gadget"), "deploy/gadget.yaml:2: Gadget shop/w: kind: the cluster knows no kind Gadget in example.com/v1; correct apiVersion and kind, add its CustomResourceDefinition to the commit"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, nil)
			files := map[string]string{"deploy/namespace.yaml": namespace, "deploy/definition.yaml": widgets("size")}
			if c.before != "" {
				files["deploy/widget.yaml"] = widget(c.before)
				b.applied(b.push(files))
			}
			files[c.file] = c.content
			commit := b.push(files)
			// By the time that an object of a new kind can be tried, the kind is there: such a commit is applied in part and tried again.
			b.until("the commit is told to be wrong", func(a *v1alpha1.Application) bool {
				for _, cond := range a.Status.Conditions {
					if cond.Type == v1alpha1.ConditionReady && strings.Contains(cond.Message, commit[:12]) {
						return strings.Contains(cond.Message, c.want)
					}
				}
				return false
			})
		})
	}
}

func TestAKindThatSomebodyElseDefinesLaterIsAppliedWithoutANewCommit(t *testing.T) {
	b := start(t, nil)
	commit := b.push(map[string]string{"deploy/namespace.yaml": namespace, "deploy/widget.yaml": widget("size: 3")})
	b.refused(commit)
	b.define(widgets("size"))
	d, err := dynamic.NewForConfig(b.cluster.System)
	if err != nil {
		t.Fatal(err)
	}
	w, err := d.Resource(definitions).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=widgets.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if strings.Contains(fmt.Sprint(e.Object), "status:True type:Established") {
			break
		}
	}
	b.tell()
	b.applied(commit)
	if got := b.size(); got != int64(3) {
		t.Errorf("size %v, want 3", got)
	}
}

func TestObjectsOfAToolThatIsNotInstalledAreLeftOutWhereTheApplicationSaysSo(t *testing.T) {
	b := start(t, nil)
	release := "apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: x}\n"
	commit := b.push(map[string]string{"deploy/namespace.yaml": namespace, "deploy/release.yaml": release})
	b.refused(commit)
	b.edit(`{"spec":{"source":{"omit":[{"group":"*.toolkit.fluxcd.io"}]}}}`)
	app := b.applied(commit)
	if n := len(app.Status.Inventory); n != 1 {
		t.Errorf("%d objects in the inventory, want the Namespace alone: %v", n, app.Status.Inventory)
	}
	look, _, err := gitops.Look(t.Context(), b.cluster.System, app, app.Spec.Source.Ref)
	if err != nil || look.Omitted() != 1 || app.Status.Omitted != 1 {
		t.Errorf("a look counts %d left out, the status %d, want 1: %v", look.Omitted(), app.Status.Omitted, err)
	}
}

// Definitions are published with fields that the server does not store: what older generators wrote is no difference.
func TestDefinitionsAsTheyArePublishedAreInSync(t *testing.T) {
	b := start(t, nil)
	files := shop("web:1")
	files["deploy/widgets.yaml"] = strings.NewReplacer(
		"metadata: {name: widgets.example.com}", "metadata: {name: widgets.example.com, creationTimestamp: null}",
		"  scope: Namespaced\n", "  scope: Namespaced\n  preserveUnknownFields: false\n",
		"    schema:\n", "    additionalPrinterColumns: [{name: Age, type: date, jsonPath: .metadata.creationTimestamp, priority: 0}]\n    subresources: {status: {}}\n    schema:\n",
	).Replace(widgets("a")) + "status: {acceptedNames: {kind: '', plural: ''}, conditions: [], storedVersions: []}\n"
	app := b.applied(b.push(files))
	look, _, err := gitops.Look(t.Context(), b.cluster.System, app, app.Spec.Source.Ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range look.Plan() {
		if s.Action != diff.Unchanged {
			t.Errorf("%s %s: %v", s.Action, diff.KeyOf(s.Ref), s.Fields)
		}
	}
}

func TestAnObjectThatWaitsForItsKindIsAppliedOnceTheClusterKnowsIt(t *testing.T) {
	for name, edit := range map[string]func(spec *v1alpha1.ApplicationSpec) string{
		"the object asks": func(*v1alpha1.ApplicationSpec) string {
			return strings.Replace(widget("size: 3"), "  name: w\n", "  name: w\n  annotations: {argocd.argoproj.io/sync-options: SkipDryRunOnMissingResource=true}\n", 1)
		},
		"the Application asks": func(spec *v1alpha1.ApplicationSpec) string {
			spec.WaitForKinds = true
			return widget("size: 3")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var w string
			b := start(t, func(a *v1alpha1.Application) { w = edit(&a.Spec) })
			files := shop("web:1")
			files["deploy/old.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: old, namespace: shop}\n"
			b.applied(b.push(files))
			delete(files, "deploy/old.yaml")
			files["deploy/widget.yaml"] = w
			files["deploy/web.yaml"] = web("web:2")
			commit := b.push(files)
			app := b.until("the commit is applied but for the object", func(a *v1alpha1.Application) bool {
				return a.Status.Sync == "Failed" && b.deployment().Spec.Template.Spec.Containers[0].Image == "web:2"
			})
			if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionSynced); !strings.Contains(c.Message, "Widget shop/w: kind: the cluster knows no kind Widget") {
				t.Errorf("the status does not say what is waited for: %s", c.Message)
			}
			if _, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "old", metav1.GetOptions{}); err != nil {
				t.Errorf("something was pruned by a commit that is not there as a whole: %v", err)
			}
			look, _, err := gitops.Look(t.Context(), b.cluster.System, app, v1alpha1.Ref{Branch: "main"})
			if err != nil || len(look.Waiting()) != 1 {
				t.Errorf("a look says that %d objects wait: %v", len(look.Waiting()), err)
			}
			b.define(widgets("size"))
			app = b.applied(commit)
			if b.size() != int64(3) || len(app.Status.Inventory) != 4 {
				t.Errorf("size %v, inventory %v", b.size(), app.Status.Inventory)
			}
			_, err = b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "old", metav1.GetOptions{})
			b.absent(err, "what the commit dropped")
		})
	}
}

package diff_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
)

const me = "gitopsd-system.shop"

func configMap(name, application, value string, annotations map[string]any) *unstructured.Unstructured {
	meta := map[string]any{"name": name, "namespace": "shop"}
	if application != "" {
		meta["labels"] = map[string]any{v1alpha1.LabelApplication: application}
	}
	if annotations != nil {
		meta["annotations"] = annotations
	}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": map[string]any{"k": value}}}
}

func ref(name string) v1alpha1.ObjectRef {
	return v1alpha1.ObjectRef{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: name}
}

func adopted(r v1alpha1.ObjectRef) v1alpha1.ObjectRef { r.Adopted = true; return r }

// Each case is one object, named x, in one situation.
func TestEachObjectGetsTheActionThatItsSituationAsksFor(t *testing.T) {
	git := configMap("x", me, "1", nil)
	for name, c := range map[string]struct {
		wanted, changed, keep bool
		live                  *unstructured.Unstructured
		inventory             []v1alpha1.ObjectRef
		want                  diff.Action
		adopted               bool
	}{
		"new in Git":                             {wanted: true, changed: true, want: diff.Create},
		"in Git, lost from the cluster":          {wanted: true, inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Create},
		"as Git says":                            {wanted: true, live: configMap("x", me, "1", nil), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Unchanged},
		"drifted":                                {wanted: true, live: configMap("x", me, "2", nil), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Update},
		"Git's text changed":                     {wanted: true, changed: true, live: configMap("x", me, "1", nil), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Update},
		"there before Git named it":              {wanted: true, changed: true, live: configMap("x", "", "2", nil), want: diff.Update, adopted: true},
		"of another Application":                 {wanted: true, changed: true, live: configMap("x", "a.b", "2", nil), want: diff.Conflict},
		"of an Application that is no more":      {wanted: true, changed: true, live: configMap("x", "gone.b", "2", nil), want: diff.Update, adopted: true},
		"ours, with the inventory lost":          {wanted: true, live: configMap("x", me, "1", nil), want: diff.Unchanged},
		"ours, with the label taken off":         {wanted: true, live: configMap("x", "", "1", nil), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Update},
		"dropped from Git":                       {live: configMap("x", me, "1", nil), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Prune},
		"dropped, and gone already":              {inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Forget},
		"dropped, and moved elsewhere":           {live: configMap("x", "a.b", "1", nil), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Forget},
		"dropped, and released by hand":          {live: configMap("x", "", "1", nil), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Forget},
		"dropped, but adopted before":            {live: configMap("x", me, "1", nil), inventory: []v1alpha1.ObjectRef{adopted(ref("x"))}, want: diff.Release, adopted: true},
		"dropped, but pruning is off":            {keep: true, live: configMap("x", me, "1", nil), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Release},
		"dropped, but its annotation forbids it": {live: configMap("x", me, "1", map[string]any{v1alpha1.AnnotationPrune: "disabled"}), inventory: []v1alpha1.ObjectRef{ref("x")}, want: diff.Release},
	} {
		t.Run(name, func(t *testing.T) {
			in := diff.Input{Application: me, Inventory: c.inventory, Prune: !c.keep, Exists: func(a string) bool { return a == "a.b" }, Live: map[diff.Key]*unstructured.Unstructured{}}
			if c.wanted {
				in.Wanted = []diff.Wanted{{Ref: ref("x"), Desired: git, Changed: c.changed}}
			}
			if c.live != nil {
				in.Live[diff.KeyOf(ref("x"))] = c.live
			}
			plan := diff.Make(in)
			if len(plan) != 1 {
				t.Fatalf("%d steps for one object: %+v", len(plan), plan)
			}
			if d := cmp.Diff(c.want, plan[0].Action); d != "" {
				t.Errorf("action (-want +got):\n%s", d)
			}
			if plan[0].Adopted != c.adopted || plan[0].Ref.Adopted != c.adopted {
				t.Errorf("adopted %t, in the inventory %t; want %t", plan[0].Adopted, plan[0].Ref.Adopted, c.adopted)
			}
		})
	}
}

// What is only to be made where it is missing is nobody's for good: who wants it gets it, and who asks for no more than that leaves it to its owner.
func TestAnObjectThatIsToBeMadeOnceIsNotKeptFromOthers(t *testing.T) {
	once := map[string]any{v1alpha1.AnnotationReconcile: "once"}
	for name, c := range map[string]struct {
		git, live *unstructured.Unstructured
		want      []diff.Action
	}{
		"it was made once by another":                {configMap("x", me, "1", nil), configMap("x", "a.b", "2", once), []diff.Action{diff.Update}},
		"it is another's, and here to be made once":  {configMap("x", me, "1", once), configMap("x", "a.b", "2", nil), nil},
		"both ask for no more than that it is there": {configMap("x", me, "1", once), configMap("x", "a.b", "2", once), nil},
	} {
		k := diff.KeyOf(ref("x"))
		plan := diff.Make(diff.Input{
			Application: me, Prune: true, Exists: func(string) bool { return true },
			Live: map[diff.Key]*unstructured.Unstructured{k: c.live}, Wanted: []diff.Wanted{{Ref: ref("x"), Desired: c.git, Changed: true}},
		})
		var got []diff.Action
		for _, s := range plan {
			got = append(got, s.Action)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestNamespacesThatTheClusterNeedsAreNeverPruned(t *testing.T) {
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease", "gitopsd-system"} {
		r := v1alpha1.ObjectRef{Version: "v1", Kind: "Namespace", Name: name}
		live := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name, "labels": map[string]any{v1alpha1.LabelApplication: me}},
		}}
		plan := diff.Make(diff.Input{Application: me, Prune: true, Inventory: []v1alpha1.ObjectRef{r}, Live: map[diff.Key]*unstructured.Unstructured{diff.KeyOf(r): live}})
		if d := cmp.Diff(diff.Release, plan[0].Action); d != "" {
			t.Errorf("namespace %s (-want +got):\n%s", name, d)
		}
	}
}

func TestValuesOfSecretsAreNeverShown(t *testing.T) {
	r := v1alpha1.ObjectRef{Version: "v1", Kind: "Secret", Namespace: "shop", Name: "s"}
	fields := []diff.Field{
		{Path: "data.password", Want: "aHVudGVyMg==", HasWant: true, Live: "b3RoZXI=", HasLive: true},
		{Path: "data[tls.key]", Live: "b3RoZXI=", HasLive: true},
		{Path: "type", Want: "Opaque", HasWant: true},
	}
	want := []v1alpha1.FieldDrift{
		{ObjectRef: r, Field: "data.password", Want: "(hidden)", Live: "(hidden)"},
		{ObjectRef: r, Field: "data[tls.key]", Live: "(hidden)"},
		{ObjectRef: r, Field: "type", Want: `"Opaque"`},
	}
	if d := cmp.Diff(want, diff.Describe(r, fields)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAClaimIsPrunedOnlyIfItsDataMayGo(t *testing.T) {
	r := v1alpha1.ObjectRef{Version: "v1", Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "data"}
	for value, want := range map[string]diff.Action{"": diff.Release, "false": diff.Release, "true": diff.Prune} {
		live := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": r.Kind}}
		live.SetNamespace(r.Namespace)
		live.SetName(r.Name)
		live.SetLabels(map[string]string{v1alpha1.LabelApplication: "me"})
		live.SetAnnotations(map[string]string{v1alpha1.AnnotationDeleteData: value})
		plan := diff.Make(diff.Input{Application: "me", Prune: true, Inventory: []v1alpha1.ObjectRef{r}, Live: map[diff.Key]*unstructured.Unstructured{diff.KeyOf(r): live}})
		if len(plan) != 1 || plan[0].Action != want {
			t.Errorf("with %s: %q the plan is %+v, want %s", v1alpha1.AnnotationDeleteData, value, plan, want)
		}
	}
}

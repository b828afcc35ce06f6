package registry

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"
)

func TestOnlyPatchesOfTheStatusAloneAreWorkedOutOnIt(t *testing.T) {
	for _, c := range []struct {
		patch string
		want  bool
	}{
		{`{"status":{"phase":"Running"}}`, true},
		{`{"status":null}`, true},
		{`{}`, true},
		{`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"n","uid":"u","resourceVersion":"1"},"status":{"$patch":"replace"}}`, true},
		{`{"metadata":null,"status":{}}`, true},
		{`{"metadata":{"labels":{"a":"b"}},"status":{}}`, false},
		{`{"metadata":{"$patch":"replace"},"status":{}}`, false},
		{`{"metadata":"x","status":{}}`, false},
		{`{"spec":{},"status":{}}`, false},
		{`{"Status":{}}`, false},
		{`{"$patch":"replace","status":{}}`, false},
		{`[{"op":"replace","path":"/status/phase","value":"Running"}]`, false},
		{`{"status":`, false},
		{``, false},
	} {
		if got := patchesStatusOnly([]byte(c.patch)); got != c.want {
			t.Errorf("%s: %v, want %v", c.patch, got, c.want)
		}
	}
	for contentType, want := range map[string]bool{
		"application/strategic-merge-patch+json": true, "application/merge-patch+json; charset=utf-8": true, "application/json-patch+json": false,
		"application/apply-patch+yaml": false, "": false, ";": false,
	} {
		if got := merges(contentType); got != want {
			t.Errorf("%q: %v, want %v", contentType, got, want)
		}
	}
}

func managedBy(manager, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

// seen is a plugin that remembers what it was shown.
type seen struct {
	admission.Interface
	object, old runtime.Object
}

func (s *seen) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	s.object, s.old = a.GetObject().DeepCopyObject(), a.GetOldObject().DeepCopyObject()
	return nil
}

func TestWhileAStatusIsPatchedOnlyTheLibraryDoesWithoutTheRest(t *testing.T) {
	spec, metadata, status := managedBy("creator", `{"f:spec":{"f:nodeName":{}}}`), managedBy("labeller", `{"f:metadata":{"f:labels":{}}}`), managedBy("node", `{"f:status":{"f:phase":{}}}`)
	for _, c := range []struct {
		name string
		have []metav1.ManagedFieldsEntry
		// kept is how many lists of fields the library sees, of which the placeholder may be one.
		kept int
	}{
		{"nobody manages fields", nil, 0},
		{"nobody manages fields of the status", []metav1.ManagedFieldsEntry{spec, metadata}, 1},
		{"somebody manages fields of the status", []metav1.ManagedFieldsEntry{spec, metadata, status}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", ManagedFields: c.have}, Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{Phase: "Pending"}}
			before := old.DeepCopy()
			want := old.DeepCopy()
			want.Status.Phase = "Running"
			plugin := &seen{}
			info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
				p := old.(*corev1.Pod)
				if p.Spec.NodeName != "" || len(p.ManagedFields) != c.kept {
					t.Errorf("the patch is worked out on a spec of %q and %d lists of fields, want none and %d", p.Spec.NodeName, len(p.ManagedFields), c.kept)
				}
				p = p.DeepCopy()
				p.Status.Phase = "Running"
				return p, nil
			}, func(ctx context.Context, updated, old runtime.Object) (runtime.Object, error) {
				a := admission.NewAttributesRecord(updated, old, corev1.SchemeGroupVersion.WithKind("Pod"), "", "p", corev1.SchemeGroupVersion.WithResource("pods"), "status", admission.Update, nil, false, nil)
				return updated, WholeObjects(plugin).(admission.MutationInterface).Admit(ctx, a, nil)
			})
			got, err := statusUpdate{info}.UpdatedObject(t.Context(), old)
			if err != nil {
				t.Fatal(err)
			}
			for what, pair := range map[string][2]runtime.Object{
				"the new object": {got, want}, "the object before, after all": {old, before}, "the new object that plugins see": {plugin.object, want}, "the object before that plugins see": {plugin.old, before},
			} {
				if !equality.Semantic.DeepEqual(pair[0], pair[1]) {
					t.Errorf("%s is\n%+v\nwant\n%+v", what, pair[0], pair[1])
				}
			}
		})
	}
}

func TestAnObjectIsLeftWholeWhereALessOneWouldGiveAnotherAnswer(t *testing.T) {
	many := make([]metav1.ManagedFieldsEntry, maxManagers)
	for i := range many {
		many[i] = managedBy(string(rune('a'+i)), `{"f:status":{}}`)
	}
	for name, have := range map[string][]metav1.ManagedFieldsEntry{
		"one manages fields of both":                        {managedBy("m", `{"f:spec":{},"f:status":{}}`)},
		"a list that cannot be read":                        {managedBy("m", `{`)},
		"no list at all":                                    {{Manager: "m"}},
		"so many managers that the oldest are put together": many,
		"a manager with the name of the placeholder":        {managedBy(placeholder, `{"f:status":{}}`)},
	} {
		if _, ok := setAside(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: have}}); ok {
			t.Errorf("%s: the object was split", name)
		}
	}
	if _, ok := setAside(&corev1.ConfigMap{}); ok {
		t.Error("an object without a spec was split")
	}
}

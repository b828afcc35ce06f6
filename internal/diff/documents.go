package diff

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Before is a desired object with the live values of the fields that differ: what the cluster has of what Git sets. The fields are those of a Step.
func Before(desired *unstructured.Unstructured, fields []Field) *unstructured.Unstructured {
	out := desired.DeepCopy()
	for _, f := range fields {
		out.Object, _ = put(out.Object, f.path, maybe{f.Live, f.HasLive}).(map[string]any)
	}
	return out
}

// After is a live object with Git's values of the fields that differ: what it will be.
func After(live *unstructured.Unstructured, fields []Field) *unstructured.Unstructured {
	out := live.DeepCopy()
	for _, f := range fields {
		out.Object, _ = put(out.Object, f.path, maybe{f.Want, f.HasWant}).(map[string]any)
	}
	return out
}

// put returns the content with another value at a path, or with none.
func put(content any, p fieldpath.Path, v maybe) any {
	if len(p) == 0 {
		return v.value
	}
	e := p[0]
	if e.FieldName != nil {
		m, _ := content.(map[string]any)
		if m = maps.Clone(m); m == nil {
			m = map[string]any{}
		}
		if len(p) == 1 && !v.ok {
			delete(m, *e.FieldName)
		} else {
			m[*e.FieldName] = put(m[*e.FieldName], p[1:], v)
		}
		return m
	}
	list, _ := content.([]any)
	list = slices.Clone(list)
	i := indexOf(list, e)
	switch {
	case len(p) == 1 && !v.ok:
		if i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
	case i < 0:
		list = append(list, put(nil, p[1:], v))
	default:
		list[i] = put(list[i], p[1:], v)
	}
	return list
}

// Bare is a live object as a manifest of it would be: without what only the server says.
func Bare(live *unstructured.Unstructured) *unstructured.Unstructured {
	out := live.DeepCopy()
	delete(out.Object, "status")
	for _, f := range []string{"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"} {
		unstructured.RemoveNestedField(out.Object, "metadata", f)
	}
	return WithoutNotes(out)
}

// WithoutNotes is an object less the annotations by which the API server and gitopsd remember things. It shares the rest.
func WithoutNotes(u *unstructured.Unstructured) *unstructured.Unstructured {
	annotations := u.GetAnnotations()
	maps.DeleteFunc(annotations, func(name, _ string) bool { return ownAnnotation(name) || name == v1alpha1.AnnotationOverriddenBy })
	out := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	if meta, ok := u.Object["metadata"].(map[string]any); ok {
		out.Object["metadata"] = maps.Clone(meta)
	}
	if out.SetAnnotations(annotations); len(annotations) == 0 {
		unstructured.RemoveNestedField(out.Object, "metadata", "annotations")
	}
	return out
}

// Mask hides the values of a Secret in two states of it so that only whether they are the same can be seen. Other objects are returned as they are; either
// may be nil.
func Mask(before, after *unstructured.Unstructured) (maskedBefore, maskedAfter *unstructured.Unstructured) {
	known := map[string]any{}
	return mask(before, known, Hidden), mask(after, known, Hidden+", changed")
}

// mask hides values; those that are not the known ones of the same place become other.
func mask(u *unstructured.Unstructured, known map[string]any, other string) *unstructured.Unstructured {
	if u == nil || u.GetKind() != "Secret" || u.GetAPIVersion() != "v1" {
		return u
	}
	out := u.DeepCopy()
	for _, part := range []string{"data", "stringData"} {
		m, ok := out.Object[part].(map[string]any)
		if !ok {
			continue
		}
		for k, v := range m {
			was, had := known[part+"."+k]
			if m[k] = Hidden; had && !equal(was, v) {
				m[k] = other
			}
			known[part+"."+k] = v
		}
	}
	if a := out.GetAnnotations(); a[lastApplied] != "" {
		a[lastApplied] = Hidden
		out.SetAnnotations(a)
	}
	return out
}

// lastApplied is where kubectl apply keeps the whole manifest, values of Secrets among it.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func secretValue(r v1alpha1.ObjectRef, path string) bool {
	return r.Group == "" && r.Kind == "Secret" && (strings.HasPrefix(path, "data") || strings.HasPrefix(path, "stringData") || strings.Contains(path, lastApplied) ||
		path == "metadata.annotations")
}

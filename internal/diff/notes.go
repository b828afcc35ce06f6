package diff

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

var overridePath = fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.AnnotationOverride)

// OverrideOf is the override that an object carries; nil for none. One that Git sets is none: whoever can write to Git can write there what the object shall be.
func OverrideOf(live *unstructured.Unstructured) *v1alpha1.Override {
	a := live.GetAnnotations()
	reason, ok := a[v1alpha1.AnnotationOverride]
	if !ok || hasBelow(ownersOf(live).git, overridePath) {
		return nil
	}
	o := &v1alpha1.Override{Reason: reason}
	var by changedBy
	if json.Unmarshal([]byte(a[v1alpha1.AnnotationOverriddenBy]), &by) == nil && by.User != "" {
		o.User, o.Time = by.User, &by.Time
	}
	return o
}

// OriginOf reads the note of where in Git an object comes from; ok is false when it has none that can be read.
func OriginOf(live *unstructured.Unstructured) (o v1alpha1.Origin, ok bool) {
	text := live.GetAnnotations()[v1alpha1.AnnotationOrigin]
	return o, text != "" && json.Unmarshal([]byte(text), &o) == nil
}

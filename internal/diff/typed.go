package diff

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Typed normalizes by reading the object into its Go type and writing it out again, which is what the server does before it stores one. Kinds
// that the scheme does not know, custom resources among them, are stored as they are written.
func Typed(scheme *runtime.Scheme) Normalize {
	return func(u *unstructured.Unstructured) *unstructured.Unstructured {
		obj, err := scheme.New(u.GroupVersionKind())
		if err != nil {
			return nil
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
			return nil // a field of the wrong type; the server's dry run names it
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
		if err != nil {
			return nil
		}
		return &unstructured.Unstructured{Object: content}
	}
}

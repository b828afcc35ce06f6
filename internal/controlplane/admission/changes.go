package admission

import (
	"context"
	"maps"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/admission"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

// changesNoted notes who changes custom resources and their definitions. All other objects have it noted by their storage; that of these is the library's.
func changesNoted() *rule {
	return rule{admit: func(ctx context.Context, a admission.Attributes) error {
		if a.GetSubresource() != "" {
			return nil
		}
		switch obj := a.GetObject().(type) {
		case *unstructured.Unstructured:
			if old, ok := a.GetOldObject().(*unstructured.Unstructured); ok {
				registry.NoteChangedBy(ctx, obj, old, !equality.Semantic.DeepEqual(specOf(obj), specOf(old)))
			}
		case *apiextensions.CustomResourceDefinition:
			if old, ok := a.GetOldObject().(*apiextensions.CustomResourceDefinition); ok {
				registry.NoteChangedBy(ctx, obj, old, !equality.Semantic.DeepEqual(obj.Spec, old.Spec))
			}
		}
		return nil
	}}.on(nil, admission.Update)
}

// specOf is what a custom resource holds beside its metadata and status, whatever its kind calls it.
func specOf(u *unstructured.Unstructured) map[string]any {
	spec := maps.Clone(u.Object)
	for _, k := range []string{"apiVersion", "kind", "metadata", "status"} {
		delete(spec, k)
	}
	return spec
}

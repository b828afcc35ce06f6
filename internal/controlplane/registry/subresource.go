package registry

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/gitopsd/gitopsd/internal/resident"
)

// subresource lets a part of an object be read and updated, under the update strategy of its store.
type subresource struct {
	store *genericregistry.Store
	// alone tells that patches may be worked out on this part of the object alone.
	alone bool
}

var (
	_ rest.Patcher             = (*subresource)(nil)
	_ rest.ResetFieldsStrategy = (*subresource)(nil)
)

func (s *subresource) New() runtime.Object { return s.store.New() }

// Destroy does nothing: the store belongs to the main resource.
func (*subresource) Destroy() {}

func (s *subresource) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}

func (s *subresource) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, validateCreate rest.ValidateObjectFunc,
	validateUpdate rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	resident.GrowStack()
	if s.alone {
		info = narrow(ctx, info)
	}
	return s.store.Update(ctx, name, keepingFields{info}, validateCreate, validateUpdate, false, options)
}

func (s *subresource) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.store.GetResetFields()
}

func (s *subresource) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, obj, options)
}

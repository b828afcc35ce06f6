package registry

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"github.com/gitopsd/gitopsd/internal/resident"
)

// After admission, the library reads the managed fields once more, lest a webhook has made nonsense of them. It does so whether anybody touched them or not, and reading
// them takes as long as writing them did. So they are judged here, when they were touched, and then kept from the library until its check is over.

type keptKey struct{}

// kept holds the managed fields of a request's object while the library would check them.
type kept struct{ fields []metav1.ManagedFieldsEntry }

// none stands for the fields that are kept. It is not nil, which is what the library sets where an object is too large to be stored with them.
var none = []metav1.ManagedFieldsEntry{}

// keep takes the fields off the object.
func (k *kept) keep(obj metav1.Object) {
	if k.fields = obj.GetManagedFields(); len(k.fields) > 0 {
		obj.SetManagedFields(none)
	}
}

// giveBack puts them on it again.
func (k *kept) giveBack(obj runtime.Object) {
	o, ok := obj.(metav1.Object)
	if ok && len(k.fields) > 0 && o.GetManagedFields() != nil && len(o.GetManagedFields()) == 0 {
		o.SetManagedFields(k.fields)
	}
	k.fields = nil
}

// keepFields judges the managed fields that admission left, if they are not those from before, and keeps them if whoever stores the object gives them back.
func keepFields(ctx context.Context, obj metav1.Object, before []metav1.ManagedFieldsEntry) {
	k, ok := ctx.Value(keptKey{}).(*kept)
	if !ok {
		return
	}
	if after := obj.GetManagedFields(); !same(before, after) {
		if err := managedfields.ValidateManagedFields(after); err != nil {
			obj.SetManagedFields(before)
			warning.AddWarning(ctx, "", fmt.Sprintf(fieldmanager.InvalidManagedFieldsAfterMutatingAdmissionWarningFormat, err))
		}
	}
	k.keep(obj)
}

// same tells whether two lists are one. Who changes an entry has read the object from JSON, or works on a copy.
func same(a, b []metav1.ManagedFieldsEntry) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// noteCreate returns the context of a request that creates an object of the table: admission comes before the storage, so that it must be told that fields are given back.
func (r *Registry) noteCreate(ctx context.Context, info *genericapirequest.RequestInfo) context.Context {
	gr := schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}
	if _, ok := r.served[gr][info.Resource].(interface{ givesFieldsBack() }); ok {
		return context.WithValue(ctx, keptKey{}, &kept{})
	}
	return ctx
}

// givesFieldsBack marks what creates by (*resource).Create.
func (*resource) givesFieldsBack() {}

// Create implements rest.Creater.
func (r *resource) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	if k, ok := ctx.Value(keptKey{}).(*kept); ok {
		k.giveBack(obj)
	}
	return r.Store.Create(ctx, obj, validate, options)
}

// Update implements rest.Updater.
func (r *resource) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, validateCreate rest.ValidateObjectFunc,
	validateUpdate rest.ValidateObjectUpdateFunc, allowCreate bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	resident.GrowStack()
	return r.Store.Update(ctx, name, keepingFields{info}, validateCreate, validateUpdate, allowCreate, options)
}

// keepingFields gives the fields back that were kept while the new object was worked out.
type keepingFields struct{ rest.UpdatedObjectInfo }

func (u keepingFields) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	k := &kept{}
	updated, err := u.UpdatedObjectInfo.UpdatedObject(context.WithValue(ctx, keptKey{}, k), old)
	if err == nil {
		k.giveBack(updated)
	}
	return updated, err
}

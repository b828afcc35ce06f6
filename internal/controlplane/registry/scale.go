package registry

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// Scale says where a kind keeps what the scale subresource shows.
type Scale[T Object] struct {
	// Get returns the desired and the observed number of replicas, and the selector of their Pods in its text form.
	Get func(obj T) (spec, status int32, selector string)
	// Set changes the desired number.
	Set func(obj T, replicas int32)
}

// scaleREST is the scale subresource.
type scaleREST[T Object] struct {
	store *genericregistry.Store
	scale *Scale[T]
	gv    schema.GroupVersion
}

var (
	_ rest.Patcher                  = (*scaleREST[Object])(nil)
	_ rest.GroupVersionKindProvider = (*scaleREST[Object])(nil)
)

func (*scaleREST[T]) New() runtime.Object { return &autoscalingv1.Scale{} }

func (*scaleREST[T]) Destroy() {}

func (*scaleREST[T]) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

func (r *scaleREST[T]) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return r.of(obj.(T)), nil
}

func (r *scaleREST[T]) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(r.store.DefaultQualifiedResource).ConvertToTable(ctx, obj, options)
}

func (r *scaleREST[T]) of(obj T) *autoscalingv1.Scale {
	spec, status, selector := r.scale.Get(obj)
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: spec},
		Status: autoscalingv1.ScaleStatus{Replicas: status, Selector: selector},
	}
}

func (r *scaleREST[T]) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc,
	updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	obj, _, err := r.store.Update(ctx, name, &scaledObject[T]{rest: r, name: name, info: info},
		func(ctx context.Context, obj runtime.Object) error { return createValidation(ctx, r.of(obj.(T))) },
		func(ctx context.Context, obj, old runtime.Object) error {
			return updateValidation(ctx, r.of(obj.(T)), r.of(old.(T)))
		}, false, options)
	if err != nil {
		return nil, false, err
	}
	return r.of(obj.(T)), false, nil
}

// scaledObject turns an update of the Scale into one of the object behind it, inside the store's own transaction.
type scaledObject[T Object] struct {
	rest *scaleREST[T]
	name string
	info rest.UpdatedObjectInfo
}

func (u *scaledObject[T]) Preconditions() *metav1.Preconditions { return u.info.Preconditions() }

func (u *scaledObject[T]) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	r := u.rest
	if objectMeta(old).GetUID() == "" {
		return nil, apierrors.NewNotFound(r.store.DefaultQualifiedResource, u.name)
	}
	obj := old.DeepCopyObject().(T)
	// The owner of spec.replicas in the Scale is the owner of the field behind it.
	mappings := managedfields.ResourcePathMappings{r.gv.String(): fieldpath.MakePathOrDie("spec", "replicas")}
	handler := managedfields.NewScaleHandler(obj.GetManagedFields(), r.gv, mappings)
	scale := r.of(obj)
	owners, err := handler.ToSubresource()
	if err != nil {
		return nil, err
	}
	scale.ManagedFields = owners
	updated, err := u.info.UpdatedObject(ctx, scale)
	if err != nil {
		return nil, err
	}
	next, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got a %T", updated))
	}
	if errs := validation.Scale(next); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), next.Name, errs)
	}
	if next.ResourceVersion != "" && next.ResourceVersion != obj.GetResourceVersion() {
		return nil, apierrors.NewConflict(r.store.DefaultQualifiedResource, next.Name, fmt.Errorf("the object has changed since it was read; read it again and repeat the change"))
	}
	r.scale.Set(obj, next.Spec.Replicas)
	if owners, err = handler.ToParent(next.ManagedFields); err != nil {
		return nil, err
	}
	obj.SetManagedFields(owners)
	return obj, nil
}

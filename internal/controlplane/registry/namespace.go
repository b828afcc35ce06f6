package registry

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

var namespaces = Kind[*corev1.Namespace]{
	Resource: "namespaces", Singular: "namespace", ShortNames: []string{"ns"}, ClusterScoped: true,
	New: func() *corev1.Namespace { return &corev1.Namespace{} }, NewList: func() runtime.Object { return &corev1.NamespaceList{} },
	Columns:   columns.Namespace,
	HasStatus: true, MetadataWithStatus: true,
	PrepareCreate: func(_ context.Context, ns *corev1.Namespace) {
		defaults.SetNamespace(ns) // its name may have been generated just now
		ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
		// The finalizer keeps the namespace until its controller has deleted what is in it.
		for _, f := range ns.Spec.Finalizers {
			if f == corev1.FinalizerKubernetes {
				return
			}
		}
		ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
	},
	PrepareUpdate: func(_ context.Context, ns, old *corev1.Namespace) {
		ns.Spec.Finalizers = old.Spec.Finalizers
	},
	Validate: validation.Namespace, ValidateUpdate: validation.NamespaceUpdate, ValidateStatus: validation.NamespaceStatusUpdate,
	Fields: func(ns *corev1.Namespace) fields.Set { return fields.Set{"status.phase": string(ns.Status.Phase)} },
	Customize: func(s *genericregistry.Store) {
		s.ShouldDeleteDuringUpdate = func(ctx context.Context, key string, obj, existing runtime.Object) bool {
			ns := obj.(*corev1.Namespace)
			return len(ns.Spec.Finalizers) == 0 && genericregistry.ShouldDeleteDuringUpdate(ctx, key, obj, existing)
		}
	},
	Wrap: func(r *resource) (rest.Storage, error) { return &namespaceREST{r}, nil },
	More: func(s *genericregistry.Store) map[string]rest.Storage {
		finalize := *s
		finalize.UpdateStrategy = finalizeStrategy{s.UpdateStrategy}
		return map[string]rest.Storage{"finalize": &subresource{store: &finalize}}
	},
}

// finalizeStrategy changes nothing but the finalizers in a Namespace's spec.
type finalizeStrategy struct{ rest.RESTUpdateStrategy }

func (finalizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	ns, was := obj.(*corev1.Namespace), old.(*corev1.Namespace)
	finalizers := ns.Spec.Finalizers
	*ns = *was.DeepCopy()
	ns.Spec.Finalizers = finalizers
}

func (finalizeStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.NamespaceFinalizeUpdate(obj.(*corev1.Namespace), old.(*corev1.Namespace))
}

// namespaceREST deletes a Namespace in two steps: marked as terminating first, removed when its finalizers are gone.
type namespaceREST struct {
	*resource
}

var _ rest.GracefulDeleter = (*namespaceREST)(nil)

func (r *namespaceREST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := r.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns := obj.(*corev1.Namespace)
	if options == nil {
		options = &metav1.DeleteOptions{}
	}
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	if options.Preconditions.UID == nil {
		options.Preconditions.UID = &ns.UID
	} else if *options.Preconditions.UID != ns.UID {
		return nil, false, apierrors.NewConflict(r.DefaultQualifiedResource, name,
			fmt.Errorf("the UID in the precondition is %s, the namespace's is %s: it has been deleted and created again", *options.Preconditions.UID, ns.UID))
	}
	if !ns.DeletionTimestamp.IsZero() {
		if len(ns.Spec.Finalizers) > 0 {
			return ns, false, nil
		}
		return r.Store.Delete(ctx, name, validate, options)
	}

	key, err := r.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	preconditions := storage.Preconditions{UID: options.Preconditions.UID, ResourceVersion: options.Preconditions.ResourceVersion}
	out := r.New()
	err = r.Storage.GuaranteedUpdate(ctx, key, out, false, &preconditions, storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
		if validate != nil {
			if err := validate(ctx, existing); err != nil {
				return nil, err
			}
		}
		ns := existing.(*corev1.Namespace)
		if ns.DeletionTimestamp.IsZero() {
			now := metav1.Now()
			ns.DeletionTimestamp = &now
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		// The library removes its own finalizers only from objects that it marked itself.
		if ns.DeletionGracePeriodSeconds == nil {
			ns.DeletionGracePeriodSeconds = new(int64)
		}
		switch {
		case options.PropagationPolicy != nil && *options.PropagationPolicy == metav1.DeletePropagationOrphan:
			addFinalizer(ns, metav1.FinalizerOrphanDependents)
		case options.PropagationPolicy != nil && *options.PropagationPolicy == metav1.DeletePropagationForeground:
			addFinalizer(ns, metav1.FinalizerDeleteDependents)
		}
		return ns, nil
	}), len(options.DryRun) > 0, nil)
	if err != nil {
		return nil, false, storeerr.InterpretUpdateError(err, r.DefaultQualifiedResource, name)
	}
	marked := out.(*corev1.Namespace)
	if len(marked.Spec.Finalizers) > 0 || len(marked.Finalizers) > 0 {
		return marked, false, nil
	}
	return r.Store.Delete(ctx, name, validate, options)
}

func addFinalizer(obj metav1.Object, name string) {
	for _, f := range obj.GetFinalizers() {
		if f == name {
			return
		}
	}
	obj.SetFinalizers(append(obj.GetFinalizers(), name))
}

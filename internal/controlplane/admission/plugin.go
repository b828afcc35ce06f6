package admission

import (
	"context"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/tools/cache"
)

// rule is one plugin of this package: admit completes the object, validate judges it once nobody changes it any more. Either may be nil.
type rule struct {
	*admission.Handler
	// of are the resources that the rule is about; none: all.
	of              []schema.GroupResource
	admit, validate func(ctx context.Context, a admission.Attributes) error
}

var (
	_ admission.MutationInterface   = (*rule)(nil)
	_ admission.ValidationInterface = (*rule)(nil)
)

// on makes a rule that is asked about those operations, once the caches that it reads are filled.
func (r rule) on(caches []cache.InformerSynced, ops ...admission.Operation) *rule {
	r.Handler = admission.NewHandler(ops...)
	if len(caches) > 0 {
		r.SetReadyFunc(func() bool {
			for _, synced := range caches {
				if !synced() {
					return false
				}
			}
			return true
		})
	}
	return &r
}

func (r *rule) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	return r.ask(ctx, a, r.admit)
}

func (r *rule) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	return r.ask(ctx, a, r.validate)
}

func (r *rule) about(a admission.Attributes) bool {
	return len(r.of) == 0 || slices.Contains(r.of, a.GetResource().GroupResource())
}

func (r *rule) ask(ctx context.Context, a admission.Attributes, f func(context.Context, admission.Attributes) error) error {
	if f == nil {
		return nil
	}
	// Only requests that the rule is about wait for its caches: what fills them must get through.
	if !r.about(a) {
		return nil
	}
	if !r.WaitForReady() {
		return admission.NewForbidden(a, errors.New("not yet ready to handle request"))
	}
	err := f(ctx, a)
	if err == nil {
		return nil
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return err
	}
	return admission.NewForbidden(a, err)
}

// object is the request's object, if it is of the wanted type and the request is about the object itself or one of its subresources.
func object[T runtime.Object](a admission.Attributes, subresources ...string) (T, bool) {
	t, ok := a.GetObject().(T)
	if !ok {
		return t, false
	}
	if a.GetSubresource() == "" {
		return t, true
	}
	return t, slices.Contains(subresources, a.GetSubresource())
}

// oldObject is the object that an update replaces, or nil.
func oldObject[T runtime.Object](a admission.Attributes) T {
	t, _ := a.GetOldObject().(T)
	return t
}

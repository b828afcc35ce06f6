package registry

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
)

// reviewREST answers a question: the object that is created carries it, and comes back with the answer. Nothing is stored.
type reviewREST[T Object] struct {
	singular   string
	namespaced bool
	empty      func() T
	// answer fills in the status.
	answer func(ctx context.Context, obj T) error
}

var (
	_ rest.Creater              = (*reviewREST[*authenticationv1.TokenReview])(nil)
	_ rest.Scoper               = (*reviewREST[*authenticationv1.TokenReview])(nil)
	_ rest.SingularNameProvider = (*reviewREST[*authenticationv1.TokenReview])(nil)
)

func (r *reviewREST[T]) New() runtime.Object { return r.empty() }

func (*reviewREST[T]) Destroy() {}

func (r *reviewREST[T]) NamespaceScoped() bool { return r.namespaced }

func (r *reviewREST[T]) GetSingularName() string { return r.singular }

func (r *reviewREST[T]) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	o, ok := obj.(T)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a %T, got a %T", o, obj))
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := r.answer(ctx, o); err != nil {
		return nil, err
	}
	return o, nil
}

func authenticationGroup(d Deps) group {
	return group{gv: authenticationv1.SchemeGroupVersion, more: map[string]rest.Storage{
		"tokenreviews": &reviewREST[*authenticationv1.TokenReview]{
			singular: "tokenreview", empty: func() *authenticationv1.TokenReview { return &authenticationv1.TokenReview{} }, answer: d.Access.reviewToken,
		},
		"selfsubjectreviews": &reviewREST[*authenticationv1.SelfSubjectReview]{
			singular: "selfsubjectreview", empty: func() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} }, answer: reviewSelf,
		},
	}}
}

func authorizationGroup(d Deps) group {
	return group{gv: authorizationv1.SchemeGroupVersion, more: map[string]rest.Storage{
		"subjectaccessreviews": &reviewREST[*authorizationv1.SubjectAccessReview]{
			singular: "subjectaccessreview", empty: func() *authorizationv1.SubjectAccessReview { return &authorizationv1.SubjectAccessReview{} },
			answer: d.Access.reviewSubject,
		},
		"localsubjectaccessreviews": &reviewREST[*authorizationv1.LocalSubjectAccessReview]{
			singular: "localsubjectaccessreview", namespaced: true,
			empty:  func() *authorizationv1.LocalSubjectAccessReview { return &authorizationv1.LocalSubjectAccessReview{} },
			answer: d.Access.reviewLocalSubject,
		},
		"selfsubjectaccessreviews": &reviewREST[*authorizationv1.SelfSubjectAccessReview]{
			singular: "selfsubjectaccessreview", empty: func() *authorizationv1.SelfSubjectAccessReview { return &authorizationv1.SelfSubjectAccessReview{} },
			answer: d.Access.reviewSelfAccess,
		},
		"selfsubjectrulesreviews": &reviewREST[*authorizationv1.SelfSubjectRulesReview]{
			singular: "selfsubjectrulesreview", empty: func() *authorizationv1.SelfSubjectRulesReview { return &authorizationv1.SelfSubjectRulesReview{} },
			answer: d.Access.reviewSelfRules,
		},
	}}
}

// invalidReview is the error for a question that cannot be answered as it is put.
func invalidReview(group, kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: group, Kind: kind}, "", errs)
}

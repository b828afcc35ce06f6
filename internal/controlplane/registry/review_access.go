package registry

import (
	"context"
	"errors"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// Access answers the reviews: who a token belongs to, and what a user may do.
type Access struct {
	Authenticator authenticator.Request
	Authorizer    authorizer.Authorizer
	Rules         authorizer.RuleResolver
}

func (a *Access) reviewToken(ctx context.Context, r *authenticationv1.TokenReview) error {
	if r.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	// The token is judged as a request that carries it would be, but for the audiences that are asked about.
	req := &http.Request{Header: http.Header{"Authorization": {"Bearer " + r.Spec.Token}}}
	if len(r.Spec.Audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, r.Spec.Audiences)
	}
	response, ok, err := a.Authenticator.AuthenticateRequest(req.WithContext(ctx))
	r.Status = authenticationv1.TokenReviewStatus{Authenticated: ok && err == nil}
	if err != nil {
		r.Status.Error = err.Error()
	}
	if r.Status.Authenticated && response != nil && response.User != nil {
		r.Status.User, r.Status.Audiences = userInfo(response.User), response.Audiences
	}
	return nil
}

func reviewSelf(ctx context.Context, r *authenticationv1.SelfSubjectReview) error {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	r.CreationTimestamp = metav1.Now()
	r.Status.UserInfo = userInfo(u)
	return nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for k, v := range u.GetExtra() {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}

func (a *Access) reviewSubject(ctx context.Context, r *authorizationv1.SubjectAccessReview) error {
	if err := invalidReview(authorizationv1.GroupName, "SubjectAccessReview", subjectSpec(&r.Spec)); err != nil {
		return err
	}
	r.Status = a.judge(ctx, subject(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (a *Access) reviewLocalSubject(ctx context.Context, r *authorizationv1.LocalSubjectAccessReview) error {
	errs := subjectSpec(&r.Spec)
	at := field.NewPath("spec", "resourceAttributes", "namespace")
	namespace := genericapirequest.NamespaceValue(ctx)
	switch {
	case r.Spec.ResourceAttributes == nil:
		errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), r.Spec.NonResourceAttributes, `disallowed on this kind of request`))
	case r.Spec.ResourceAttributes.Namespace != namespace:
		errs = append(errs, field.Invalid(at, r.Spec.ResourceAttributes.Namespace, `must match metadata.namespace`))
	}
	if err := invalidReview(authorizationv1.GroupName, "LocalSubjectAccessReview", errs); err != nil {
		return err
	}
	r.Status = a.judge(ctx, subject(&r.Spec), r.Spec.ResourceAttributes, nil)
	return nil
}

func (a *Access) reviewSelfAccess(ctx context.Context, r *authorizationv1.SelfSubjectAccessReview) error {
	errs := accessAttributes(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	if err := invalidReview(authorizationv1.GroupName, "SelfSubjectAccessReview", errs); err != nil {
		return err
	}
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	r.Status = a.judge(ctx, u, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (a *Access) reviewSelfRules(ctx context.Context, r *authorizationv1.SelfSubjectRulesReview) error {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	if r.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	resources, paths, incomplete, err := a.Rules.RulesFor(ctx, u, r.Spec.Namespace)
	r.Status = authorizationv1.SubjectRulesReviewStatus{
		Incomplete: incomplete, ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{},
	}
	if err != nil {
		r.Status.EvaluationError = err.Error()
	}
	for _, rule := range resources {
		r.Status.ResourceRules = append(r.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range paths {
		r.Status.NonResourceRules = append(r.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
	}
	return nil
}

func (a *Access) judge(ctx context.Context, u user.Info, resource *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	decision, reason, err := a.Authorizer.Authorize(ctx, attributes(u, resource, path))
	status := authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason,
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

func attributes(u user.Info, r *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) authorizer.AttributesRecord {
	if r == nil {
		return authorizer.AttributesRecord{User: u, Verb: path.Verb, Path: path.Path}
	}
	out := authorizer.AttributesRecord{
		User: u, Verb: r.Verb, Namespace: r.Namespace, APIGroup: r.Group, APIVersion: matchAll(r.Version), Resource: r.Resource, Subresource: r.Subresource,
		Name: r.Name, ResourceRequest: true,
	}
	if r.FieldSelector != nil {
		out.FieldSelectorRequirements, out.FieldSelectorParsingErr = fieldRequirements(r.FieldSelector)
	}
	if r.LabelSelector != nil {
		out.LabelSelectorRequirements, out.LabelSelectorParsingErr = labelRequirements(r.LabelSelector)
	}
	return out
}

func matchAll(version string) string {
	if version == "" {
		return "*"
	}
	return version
}

// fieldRequirements reads both forms of a field selector. What is not understood narrows nothing: the question is then answered as for a wider request.
func fieldRequirements(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if s.RawSelector != "" {
		parsed, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return parsed.Requirements(), nil
	}
	var out fields.Requirements
	var errs []error
	for _, r := range s.Requirements {
		switch {
		case r.Operator == metav1.FieldSelectorOpIn && len(r.Values) == 1:
			out = append(out, fields.Requirement{Operator: selection.Equals, Field: r.Key, Value: r.Values[0]})
		case r.Operator == metav1.FieldSelectorOpNotIn && len(r.Values) == 1:
			out = append(out, fields.Requirement{Operator: selection.NotEquals, Field: r.Key, Value: r.Values[0]})
		default:
			errs = append(errs, errors.New("field selectors know one value for a key, with In or NotIn: "+r.Key))
		}
	}
	return out, errors.Join(errs...)
}

func labelRequirements(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	var parsed labels.Selector
	var err error
	if s.RawSelector != "" {
		parsed, err = labels.Parse(s.RawSelector)
	} else {
		parsed, err = metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: s.Requirements})
	}
	if err != nil {
		return nil, err
	}
	requirements, _ := parsed.Requirements()
	return requirements, nil
}

func subject(s *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: s.User, Groups: s.Groups, UID: s.UID}
	for k, v := range s.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[k] = v
	}
	return u
}

func subjectSpec(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := accessAttributes(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, `at least one of user or group must be specified`))
	}
	return errs
}

func accessAttributes(r *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) field.ErrorList {
	at := field.NewPath("spec", "resourceAttributes")
	switch {
	case r != nil && path != nil:
		return field.ErrorList{field.Invalid(field.NewPath("spec", "nonResourceAttributes"), path, `cannot be specified in combination with resourceAttributes`)}
	case r == nil && path == nil:
		return field.ErrorList{field.Invalid(at, r, `exactly one of nonResourceAttributes or resourceAttributes must be specified`)}
	case r == nil:
		return nil
	}
	var errs field.ErrorList
	if f := r.FieldSelector; f != nil && f.RawSelector != "" && len(f.Requirements) > 0 {
		errs = append(errs, field.Invalid(at.Child("fieldSelector", "rawSelector"), f.RawSelector, "may not specified at the same time as requirements"))
	}
	if l := r.LabelSelector; l != nil && l.RawSelector != "" && len(l.Requirements) > 0 {
		errs = append(errs, field.Invalid(at.Child("labelSelector", "rawSelector"), l.RawSelector, "may not specified at the same time as requirements"))
	}
	return errs
}

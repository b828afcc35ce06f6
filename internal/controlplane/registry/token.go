package registry

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// TokenRequest is what a token is to say.
type TokenRequest struct {
	Account *corev1.ServiceAccount
	// Pod, Secret or Node ties the token's life to that object's; nil for none. With a Pod, Node is where it runs.
	Pod       *corev1.Pod
	Secret    *corev1.Secret
	Node      *corev1.Node
	Audiences []string
	Lifetime  time.Duration
}

// TokenIssuer signs ServiceAccount tokens.
type TokenIssuer interface {
	// Issue returns a signed token, and when it ends.
	Issue(TokenRequest) (token string, expires time.Time, err error)
	// Audience is what a token is for when the request does not say.
	Audience() string
}

// tokenREST is the token subresource of ServiceAccounts.
type tokenREST struct {
	accounts *genericregistry.Store
	registry *Registry
	issuer   TokenIssuer
}

var (
	_ rest.NamedCreater             = (*tokenREST)(nil)
	_ rest.GroupVersionKindProvider = (*tokenREST)(nil)
)

func (*tokenREST) New() runtime.Object { return &authenticationv1.TokenRequest{} }

func (*tokenREST) Destroy() {}

func (*tokenREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

func (r *tokenREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	req, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a TokenRequest, got a %T", obj))
	}
	if len(req.Spec.Audiences) == 0 {
		req.Spec.Audiences = []string{r.issuer.Audience()}
	}
	if req.Spec.ExpirationSeconds == nil {
		hour := int64(3600)
		req.Spec.ExpirationSeconds = &hour
	}
	account, err := r.accounts.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	req.Name, req.Namespace = name, account.(*corev1.ServiceAccount).Namespace
	if errs := validation.TokenRequest(req); len(errs) > 0 {
		return nil, apierrors.NewInvalid(authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind(), name, errs)
	}
	if validate != nil {
		if err := validate(ctx, obj); err != nil {
			return nil, err
		}
	}
	t := TokenRequest{
		Account: account.(*corev1.ServiceAccount), Audiences: req.Spec.Audiences,
		Lifetime: time.Duration(*req.Spec.ExpirationSeconds) * time.Second,
	}
	if ref := req.Spec.BoundObjectRef; ref != nil {
		if err := r.bind(ctx, &t, ref); err != nil {
			return nil, err
		}
	}
	token, expires, err := r.issuer.Issue(t)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("token for ServiceAccount %s/%s: %w", req.Namespace, name, err))
	}
	out := req.DeepCopy()
	out.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	return out, nil
}

// bind finds the object that the token is to end with.
func (r *tokenREST) bind(ctx context.Context, t *TokenRequest, ref *authenticationv1.BoundObjectReference) error {
	resources := map[string]string{"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
	resource, ok := resources[ref.Kind]
	if !ok || ref.APIVersion != "v1" {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s, %s", ref.APIVersion, ref.Kind))
	}
	obj, err := r.registry.Store(corev1.Resource(resource)).Get(ctx, ref.Name, &metav1.GetOptions{})
	if err != nil {
		return err
	}
	if uid := objectMeta(obj).GetUID(); ref.UID != "" && ref.UID != uid {
		return apierrors.NewConflict(corev1.Resource(resource), ref.Name, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record (%s)", ref.UID, uid))
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		if o.Spec.ServiceAccountName != t.Account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name %q", t.Account.Name, o.Spec.ServiceAccountName))
		}
		t.Pod = o
		if o.Spec.NodeName == "" {
			return nil
		}
		// The token says on which node its Pod runs. One that is gone tells nobody anything.
		node, err := r.registry.Store(corev1.Resource("nodes")).Get(genericapirequest.WithNamespace(ctx, ""), o.Spec.NodeName, &metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		t.Node, _ = node.(*corev1.Node)
	case *corev1.Secret:
		t.Secret = o
	case *corev1.Node:
		t.Node = o
	}
	return nil
}

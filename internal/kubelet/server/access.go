package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Access decides who may ask this node. The API server shows itself with a certificate of the group system:masters and may ask for anything. Anybody else
// (a Prometheus with its ServiceAccount's token, say) is whom the API server says, and may what its roles say of the node's subresources.
type Access struct {
	Client kubernetes.Interface
	Node   string

	mu      sync.Mutex
	users   map[[sha256.Size]byte]answer[authenticationv1.UserInfo]
	allowed map[string]answer[bool]
}

// answer of the API server, and until when it is believed.
type answer[T any] struct {
	value T
	until time.Time
}

// How long an answer is believed: long enough for a scraper not to double the API server's work, short enough for a revoked right to be one. These are the kubelet's
// defaults for tokens; rights are believed as long.
const (
	believed = 2 * time.Minute
	doubted  = 30 * time.Second
	// answersKept bounds what is remembered.
	answersKept = 1024
)

// refuse says why a request may not be made; nothing if it may.
func (a *Access) refuse(r *http.Request) (int, string) {
	user, err := a.who(r)
	if err != nil {
		return http.StatusUnauthorized, "Unauthorized: " + err.Error()
	}
	if slices.Contains(user.Groups, "system:masters") {
		return 0, ""
	}
	verb, fitting := verbOf(r.Method), subresources(r.URL.Path)
	for _, sub := range fitting {
		ok, err := a.may(r.Context(), user, verb, sub)
		if err != nil {
			return http.StatusInternalServerError, fmt.Sprintf("asking the API server whether %q may %s nodes/%s: %v", user.Username, verb, sub, err)
		}
		if ok {
			return 0, ""
		}
	}
	return http.StatusForbidden, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v): a role must allow it one of nodes/%s",
		user.Username, verb, fitting, strings.Join(fitting, ", nodes/"))
}

// who finds the user behind a request.
func (a *Access) who(r *http.Request) (authenticationv1.UserInfo, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		s := r.TLS.PeerCertificates[0].Subject
		return authenticationv1.UserInfo{Username: s.CommonName, Groups: append(slices.Clone(s.Organization), "system:authenticated")}, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return authenticationv1.UserInfo{}, errors.New("show a client certificate signed by the cluster's CA, or a bearer token of the cluster")
	}
	key, now := sha256.Sum256([]byte(token)), time.Now()
	a.mu.Lock()
	known, ok := a.users[key]
	a.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.value, nil
	}
	review, err := a.Client.AuthenticationV1().TokenReviews().Create(r.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, fmt.Errorf("the API server could not be asked about the token: %w", err)
	}
	if !review.Status.Authenticated {
		return authenticationv1.UserInfo{}, errors.New("the token is not one of this cluster, or it has expired")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users = room(a.users)
	a.users[key] = answer[authenticationv1.UserInfo]{review.Status.User, now.Add(believed)}
	return review.Status.User, nil
}

// may asks whether a user has a right on a subresource of this node.
func (a *Access) may(ctx context.Context, user authenticationv1.UserInfo, verb, sub string) (bool, error) {
	key, now := strings.Join(append([]string{user.Username, user.UID, verb, sub}, user.Groups...), "\x00"), time.Now()
	a.mu.Lock()
	known, ok := a.allowed[key]
	a.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.value, nil
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	review, err := a.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: sub, Name: a.Node},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	life := believed
	if !review.Status.Allowed {
		life = doubted
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allowed = room(a.allowed)
	a.allowed[key] = answer[bool]{review.Status.Allowed, now.Add(life)}
	return review.Status.Allowed, nil
}

// room makes a map that has room for one more.
func room[K comparable, T any](m map[K]answer[T]) map[K]answer[T] {
	if m == nil || len(m) >= answersKept {
		return map[K]answer[T]{}
	}
	return m
}

// verbOf is the verb that a method stands for: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/.
func verbOf(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return "get"
}

// subresources of a node that give the right to a path, the finest first (KEP-2862). nodes/proxy gives all but those that have a name of their own for long.
func subresources(path string) []string {
	below := func(top string) bool { return path == top || strings.HasPrefix(path, top+"/") }
	switch {
	case below("/stats"):
		return []string{"stats"}
	case below("/metrics"):
		return []string{"metrics"}
	case below("/logs"):
		return []string{"log"}
	case below("/healthz"):
		return []string{"healthz", "proxy"}
	case below("/configz"):
		return []string{"configz", "proxy"}
	case below("/pods"), below("/runningpods"):
		return []string{"pods", "proxy"}
	}
	return []string{"proxy"}
}

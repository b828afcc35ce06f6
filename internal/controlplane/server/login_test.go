package server_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authentication"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authorization"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/oidctest"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/webhooktest"
	"github.com/gitopsd/gitopsd/internal/controlplane/server"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// bearer is a client with a token and no other credential.
func bearer(t *testing.T, c *servertest.Cluster, token string) kubernetes.Interface {
	t.Helper()
	config := c.Anonymous()
	config.BearerToken = token
	return client(t, config)
}

// whoami is who the API server takes the client for.
func whoami(t *testing.T, k kubernetes.Interface) (authenticationv1.UserInfo, error) {
	t.Helper()
	r, err := k.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return r.Status.UserInfo, nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// refused401 checks that a client is told in the form of the API that its credential is no good.
func refused401(t *testing.T, what string, err error) {
	t.Helper()
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Code != http.StatusUnauthorized || status.Status().Reason != metav1.StatusReasonUnauthorized {
		t.Errorf("%s: got %v, want a Status of code 401", what, err)
	}
}

func TestAUserLogsInWithTheTokenOfAnIssuerAndHasTheRightsOfTheirGroups(t *testing.T) {
	issuer, other := oidctest.New(t), oidctest.New(t)
	file := filepath.Join(t.TempDir(), "authentication.yaml")
	configure := func(i *oidctest.Issuer) {
		t.Helper()
		text := fmt.Sprintf("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: %s\n    audiences: [cluster]\n    certificateAuthority: |\n      %s\n"+
			"  claimMappings:\n    username: {expression: '\"home:\" + claims.sub'}\n    groups: {claim: groups, prefix: \"home:\"}\n",
			i.URL, strings.ReplaceAll(strings.TrimSpace(i.CA), "\n", "\n      "))
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	configure(issuer)
	c := servertest.With(t, func(cfg *server.Config) { cfg.Authentication = authentication.Options{ConfigFile: file} })
	k := client(t, c.System)
	namespace(t, k, "shop")
	must[*rbacv1.Role](t)(k.RbacV1().Roles("shop").Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "look"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
	}, metav1.CreateOptions{}))
	must[*rbacv1.RoleBinding](t)(k.RbacV1().RoleBindings("shop").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "devs"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "look"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "home:dev"}},
	}, metav1.CreateOptions{}))

	alice := bearer(t, c, issuer.Token(t, map[string]any{"sub": "alice", "groups": []string{"dev"}}))
	eventually(t, "the API server has the issuer's keys", func() bool {
		_, err := whoami(t, alice)
		return err == nil
	})
	me := must[authenticationv1.UserInfo](t)(whoami(t, alice))
	if got := fmt.Sprint(me.Username, me.Groups); got != "home:alice[home:dev system:authenticated]" {
		t.Errorf("the API server takes the user for %s", got)
	}
	eventually(t, "the role counts", func() bool {
		_, err := alice.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	if _, err := alice.CoreV1().Secrets("shop").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "home:alice" cannot list resource "secrets"`) {
		t.Errorf("beyond the role: %v", err)
	}
	for name, token := range map[string]string{
		"for somebody else":      issuer.Token(t, map[string]any{"sub": "alice", "aud": "shop"}),
		"expired":                issuer.Token(t, map[string]any{"sub": "alice", "exp": time.Now().Add(-time.Minute).Unix()}),
		"another's signature":    other.Token(t, map[string]any{"sub": "alice", "iss": issuer.URL}),
		"an unknown issuer":      other.Token(t, map[string]any{"sub": "alice"}),
		"as if by this cluster":  issuer.Token(t, map[string]any{"sub": "system:serviceaccount:kube-system:default", "iss": "https://kubernetes.default.svc.cluster.local"}),
		"nothing that is signed": "abc",
	} {
		_, err := whoami(t, bearer(t, c, token))
		refused401(t, name, err)
	}
	// A ServiceAccount's token is this cluster's own matter still.
	review := must[*authenticationv1.TokenRequest](t)(k.CoreV1().ServiceAccounts("kube-system").CreateToken(t.Context(), account(t, k, "kube-system"), &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))
	if me, err := whoami(t, bearer(t, c, review.Status.Token)); err != nil || me.Username != "system:serviceaccount:kube-system:worker" {
		t.Errorf("a ServiceAccount's token: %s, %v", me.Username, err)
	}

	issuer.Rotate(t)
	if me, err := whoami(t, bearer(t, c, issuer.Token(t, map[string]any{"sub": "bob"}))); err != nil || me.Username != "home:bob" {
		t.Errorf("signed with a new key: %s, %v", me.Username, err)
	}
	_, err := whoami(t, alice)
	refused401(t, "signed with a key that the issuer has taken back", err)

	configure(other)
	carol := bearer(t, c, other.Token(t, map[string]any{"sub": "carol"}))
	eventually(t, "the changed file counts", func() bool {
		_, err := whoami(t, carol)
		return err == nil
	})
	_, err = whoami(t, bearer(t, c, issuer.Token(t, map[string]any{"sub": "bob"})))
	refused401(t, "an issuer that is no longer in the file", err)
}

// account makes a ServiceAccount.
func account(t *testing.T, k kubernetes.Interface, ns string) string {
	t.Helper()
	must[*corev1.ServiceAccount](t)(k.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}, metav1.CreateOptions{}))
	return "worker"
}

func TestWebhooksAreAskedWhoAUserIsAndWhatTheyMayDo(t *testing.T) {
	tokens := webhooktest.New(t, func(r *authenticationv1.TokenReview) {
		if name, ok := strings.CutPrefix(r.Spec.Token, "badge-of-"); ok {
			r.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: name, Groups: []string{"staff"}}}
		}
	})
	decider := webhooktest.New(t, func(r *authorizationv1.SubjectAccessReview) {
		switch a := r.Spec.ResourceAttributes; {
		case a == nil || a.Resource != "configmaps":
		case r.Spec.User == "alice":
			r.Status.Allowed = true
		case r.Spec.User == "mallory":
			r.Status.Denied, r.Status.Reason = true, "mallory is on the list"
		}
	})
	file := filepath.Join(t.TempDir(), "authorization.yaml")
	text := fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: list.example.com
  webhook:
    timeout: 1s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    cacheAuthorizedRequests: false
    cacheUnauthorizedRequests: false
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %q}
    matchConditions:
    - expression: "'staff' in request.groups"
    - expression: has(request.resourceAttributes)
- {type: Node, name: node}
- {type: RBAC, name: rbac}
`, decider.Kubeconfig)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := servertest.With(t, func(cfg *server.Config) {
		cfg.Authentication.Webhook = authentication.Webhook{ConfigFile: tokens.Kubeconfig, Version: "v1"}
		cfg.Authorization = authorization.Options{ConfigFile: file}
	})
	k := client(t, c.System)
	must[*rbacv1.ClusterRoleBinding](t)(k.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "mallory"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "mallory"}},
	}, metav1.CreateOptions{}))
	list := func(token string) error {
		_, err := bearer(t, c, token).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		return err
	}
	if err := list("badge-of-alice"); err != nil {
		t.Errorf("the webhook allows: %v", err)
	}
	mallory := bearer(t, c, "badge-of-mallory")
	eventually(t, "the role counts where the webhook has no opinion", func() bool {
		_, err := mallory.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	if err := list("badge-of-mallory"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "mallory is on the list") {
		t.Errorf("the webhook denies what a role allows: %v", err)
	}
	if err := list("badge-of-eve"); !apierrors.IsForbidden(err) {
		t.Errorf("nobody has an opinion: %v", err)
	}
	refused401(t, "a token that the webhook does not know", list("abc"))
	// What the conditions keep from the webhook does not depend on it.
	decider.Hang()
	if _, err := bearer(t, c, "badge-of-mallory").Discovery().ServerVersion(); err != nil {
		t.Errorf("a path, with a webhook for resources that hangs: %v", err)
	}
	begin := time.Now()
	err := list("badge-of-alice")
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the authorizer list.example.com could not be asked") {
		t.Errorf("the webhook hangs and its failure policy is Deny: %v", err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("a webhook with a timeout of 1 s held the request for %s", took)
	}
	if _, err := k.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("an administrator, with a webhook that hangs: %v", err)
	}
	// The same configuration without the webhook.
	at := strings.Index(text, "- type: Webhook")
	if err := os.WriteFile(file, []byte(text[:at]+text[strings.Index(text, "- {type: Node"):]), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "mallory's role counts without the webhook", func() bool { return list("badge-of-mallory") == nil })
	if err := list("badge-of-alice"); !apierrors.IsForbidden(err) {
		t.Errorf("alice without the webhook: %v", err)
	}
}

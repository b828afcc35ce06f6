package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// certificate is a client's, signed by ca unless that is nil: then by itself.
func certificate(t *testing.T, c *servertest.Cluster, own bool, notBefore, notAfter time.Time, usage x509.ExtKeyUsage) *rest.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "alice", Organization: []string{"system:masters"}},
		NotBefore: notBefore, NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	parent, signer := c.PKI.CA, c.PKI.CAKey
	if own {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	config := c.Anonymous()
	config.CertData, config.KeyData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM
	return config
}

func TestAClientCertificateCountsWhileItIsValidAndOfTheClustersAuthority(t *testing.T) {
	c := servertest.Start(t)
	now := time.Now()
	client1 := x509.ExtKeyUsageClientAuth
	if me, err := whoami(t, client(t, certificate(t, c, false, now.Add(-time.Hour), now.Add(time.Hour), client1))); err != nil || me.Username != "alice" {
		t.Errorf("a good certificate: %s, %v", me.Username, err)
	}
	for name, config := range map[string]*rest.Config{
		"expired":       certificate(t, c, false, now.Add(-time.Hour), now.Add(-time.Minute), client1),
		"not yet valid": certificate(t, c, false, now.Add(time.Hour), now.Add(2*time.Hour), client1),
		"for servers":   certificate(t, c, false, now.Add(-time.Hour), now.Add(time.Hour), x509.ExtKeyUsageServerAuth),
		"of nobody":     certificate(t, c, true, now.Add(-time.Hour), now.Add(time.Hour), client1),
	} {
		_, err := whoami(t, client(t, config))
		refused401(t, name, err)
		// A bad certificate does not make an anonymous request, either.
		_, err = client(t, config).Discovery().ServerVersion()
		refused401(t, name+", for what is open to everybody", err)
	}
	// One that was good is no longer when its time is over, although the server remembers that it was.
	short := client(t, certificate(t, c, false, now.Add(-time.Hour), time.Now().Add(3*time.Second), client1))
	if _, err := whoami(t, short); err != nil {
		t.Errorf("before its end: %v", err)
	}
	eventually(t, "the certificate has expired", func() bool {
		_, err := whoami(t, short)
		return apierrors.IsUnauthorized(err)
	})
}

func TestATokenEndsWithItsTimeAndWithWhatItIsBoundTo(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	accounts := k.CoreV1().ServiceAccounts("shop")
	fresh := func(name string) *corev1.ServiceAccount {
		return must[*corev1.ServiceAccount](t)(accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
	}
	token := func(account string, bound *authenticationv1.BoundObjectReference, audiences ...string) string {
		r := must[*authenticationv1.TokenRequest](t)(accounts.CreateToken(t.Context(), account, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound, Audiences: audiences},
		}, metav1.CreateOptions{}))
		return r.Status.Token
	}
	pod := func(name string) *corev1.Pod {
		return must[*corev1.Pod](t)(k.CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			ServiceAccountName: "web", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
		}}, metav1.CreateOptions{}))
	}
	web := fresh("web")
	now := pod("web-1")
	toPod := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "web-1", UID: now.UID}
	secret := must[*corev1.Secret](t)(k.CoreV1().Secrets("shop").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "anchor"}}, metav1.CreateOptions{}))
	toSecret := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: "anchor", UID: secret.UID}
	ofAccount, ofPod, ofSecret := token("web", nil), token("web", toPod), token("web", toSecret)
	for name, token := range map[string]string{"of an account": ofAccount, "of a Pod": ofPod, "of a Secret": ofSecret} {
		me, err := whoami(t, bearer(t, c, token))
		if err != nil || me.Username != "system:serviceaccount:shop:web" || me.UID != string(web.UID) {
			t.Errorf("a good token %s: %s, %s, %v", name, me.Username, me.UID, err)
		}
	}
	// The same with another time or signature.
	remade := func(key any, change func(map[string]any)) string {
		parsed := must[*jwt.JSONWebToken](t)(jwt.ParseSigned(ofAccount, []jose.SignatureAlgorithm{jose.ES256}))
		claims := map[string]any{}
		if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
			t.Fatal(err)
		}
		change(claims)
		signer := must[jose.Signer](t)(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil))
		return must[string](t)(jwt.Signed(signer).Claims(claims).Serialize())
	}
	if _, err := whoami(t, bearer(t, c, remade(c.PKI.ServiceAccountKey, func(map[string]any) {}))); err != nil {
		t.Fatalf("a token that was only signed anew: %v", err)
	}
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"expired":              remade(c.PKI.ServiceAccountKey, func(m map[string]any) { m["exp"] = time.Now().Add(-time.Second).Unix() }),
		"not yet valid":        remade(c.PKI.ServiceAccountKey, func(m map[string]any) { m["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"of another account":   remade(c.PKI.ServiceAccountKey, func(m map[string]any) { delete(m, "kubernetes.io") }),
		"signed by another":    remade(foreign, func(map[string]any) {}),
		"for somebody else":    token("web", nil, "vault"),
		"with a broken end":    ofAccount[:len(ofAccount)-4] + "AAAA",
		"no token":             "a.b.c",
		"a join token unknown": "abcdef.0123456789abcdef",
	} {
		_, err := whoami(t, bearer(t, c, token))
		refused401(t, name, err)
	}
	// What a token is bound to is gone, or another of the same name is there. Requests are judged by the watch cache, which hears of it a moment later.
	ends := func(why, token string) {
		t.Helper()
		var err error
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if _, err = whoami(t, bearer(t, c, token)); err != nil {
				break
			}
		}
		refused401(t, why, err)
	}
	if err := k.CoreV1().Secrets("shop").Delete(t.Context(), "anchor", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ends("its Secret is gone", ofSecret)
	if err := k.CoreV1().Pods("shop").Delete(t.Context(), "web-1", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	ends("its Pod is gone", ofPod)
	pod("web-1")
	ends("another Pod has its name", ofPod)
	if _, err := whoami(t, bearer(t, c, ofAccount)); err != nil {
		t.Errorf("the account's own token: %v", err)
	}
	if err := accounts.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fresh("web")
	ends("another account has its name", ofAccount)
}

func TestSomebodyActsAsAnotherOnlyAsFarAsARoleSays(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	role := func(name string, rules ...rbacv1.PolicyRule) {
		must[*rbacv1.ClusterRole](t)(k.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}))
		must[*rbacv1.ClusterRoleBinding](t)(k.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "support"}},
		}, metav1.CreateOptions{}))
	}
	as := func(resource, group string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names}
	}
	role("support", as("users", "", "alice"), as("groups", "", "dev"), as("serviceaccounts", "", "web"), as("uids", "authentication.k8s.io", "7"),
		as("userextras/scopes", "authentication.k8s.io", "view"))
	with := func(i rest.ImpersonationConfig) kubernetes.Interface {
		config := c.User(t, "support")
		config.Impersonate = i
		return client(t, config)
	}
	eventually(t, "the role counts", func() bool {
		_, err := whoami(t, with(rest.ImpersonationConfig{UserName: "alice"}))
		return err == nil
	})
	type info = authenticationv1.UserInfo
	for name, test := range map[string]struct {
		as   rest.ImpersonationConfig
		want info
		no   string // the resource that is refused
	}{
		"a user":                 {as: rest.ImpersonationConfig{UserName: "alice"}, want: info{Username: "alice", Groups: []string{"system:authenticated"}}},
		"a user in a group":      {as: rest.ImpersonationConfig{UserName: "alice", Groups: []string{"dev"}}, want: info{Username: "alice", Groups: []string{"dev", "system:authenticated"}}},
		"a user's UID":           {as: rest.ImpersonationConfig{UserName: "alice", UID: "7"}, want: info{Username: "alice", UID: "7", Groups: []string{"system:authenticated"}}},
		"an extra":               {as: rest.ImpersonationConfig{UserName: "alice", Extra: map[string][]string{"scopes": {"view"}}}, want: info{Username: "alice", Groups: []string{"system:authenticated"}, Extra: map[string]authenticationv1.ExtraValue{"scopes": {"view"}}}},
		"a ServiceAccount":       {as: rest.ImpersonationConfig{UserName: "system:serviceaccount:shop:web"}, want: info{Username: "system:serviceaccount:shop:web", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"}}},
		"another user":           {as: rest.ImpersonationConfig{UserName: "bob"}, no: `cannot impersonate resource "users"`},
		"another group":          {as: rest.ImpersonationConfig{UserName: "alice", Groups: []string{"system:masters"}}, no: `cannot impersonate resource "groups"`},
		"another UID":            {as: rest.ImpersonationConfig{UserName: "alice", UID: "8"}, no: `cannot impersonate resource "uids"`},
		"another extra":          {as: rest.ImpersonationConfig{UserName: "alice", Extra: map[string][]string{"scopes": {"edit"}}}, no: `cannot impersonate resource "userextras/scopes"`},
		"another ServiceAccount": {as: rest.ImpersonationConfig{UserName: "system:serviceaccount:shop:db"}, no: `cannot impersonate resource "serviceaccounts"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := whoami(t, with(test.as))
			if test.no != "" {
				if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.no) {
					t.Errorf("got %v, %v, want it forbidden: %s", got, err, test.no)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	// A group without a user is nobody.
	_, err := client(t, withHeader(c.User(t, "support"), "Impersonate-Group", "dev")).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if status, ok := err.(apierrors.APIStatus); !ok || status.Status().Code == http.StatusOK {
		t.Errorf("a group without a user: %v", err)
	}
	// Whoever acts as another has that one's rights, and no longer their own.
	if _, err := with(rest.ImpersonationConfig{UserName: "alice"}).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "alice" cannot list`) {
		t.Errorf("as alice: %v", err)
	}
}

func withHeader(c *rest.Config, key, value string) *rest.Config {
	c.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set(key, value)
			return rt.RoundTrip(r)
		})
	})
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

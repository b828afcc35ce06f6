package server_test

import (
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func joinSecret(id, secret, expiration string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true"},
	}
	if expiration != "" {
		s.StringData["expiration"] = expiration
	}
	return s
}

func TestAJoinTokenMayAskForACertificateAndNothingElse(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	for _, s := range []*corev1.Secret{
		joinSecret("aaaaaa", "0123456789abcdef", ""),
		joinSecret("bbbbbb", "0123456789abcdef", time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)),
	} {
		must[*corev1.Secret](t)(k.CoreV1().Secrets("kube-system").Create(t.Context(), s, metav1.CreateOptions{}))
	}
	with := func(token string) kubernetes.Interface {
		config := c.Anonymous()
		config.BearerToken = token
		return client(t, config)
	}
	list := func(token string) error {
		_, err := with(token).CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
		return err
	}
	if err := list("aaaaaa.0123456789abcdef"); err != nil {
		t.Errorf("a good token: %v", err)
	}
	_, err := with("aaaaaa.0123456789abcdef").CoreV1().Secrets("kube-system").Get(t.Context(), "bootstrap-token-bbbbbb", metav1.GetOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "can only ask for a node's certificate") {
		t.Errorf("reading a Secret with a join token gave %v, want it forbidden", err)
	}
	for name, token := range map[string]string{"wrong secret": "aaaaaa.fedcba9876543210", "unknown id": "cccccc.0123456789abcdef", "expired": "bbbbbb.0123456789abcdef"} {
		if err := list(token); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: got %v, want Unauthorized", name, err)
		}
	}
	// Whoever asks for a certificate is noted by the server, whatever the request claims.
	csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: certificateRequest(t, "system:node:n1", "system:nodes"), SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}, Username: "admin", Groups: []string{"system:masters"},
	}}
	csr = must[*certificatesv1.CertificateSigningRequest](t)(with("aaaaaa.0123456789abcdef").CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{}))
	if csr.Spec.Username != "system:bootstrap:aaaaaa" || strings.Contains(strings.Join(csr.Spec.Groups, " "), "masters") {
		t.Errorf("the request is noted as of %s in %v", csr.Spec.Username, csr.Spec.Groups)
	}
}

func TestAServiceAccountTokenEndsWithItsAccount(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	must[*corev1.ServiceAccount](t)(k.CoreV1().ServiceAccounts("shop").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}}, metav1.CreateOptions{}))
	r := must[*authenticationv1.TokenRequest](t)(k.CoreV1().ServiceAccounts("shop").CreateToken(t.Context(), "deployer", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))
	config := c.Anonymous()
	config.BearerToken = r.Status.Token
	use := func() error {
		_, err := client(t, config).Discovery().RESTClient().Get().AbsPath("/apis").DoRaw(t.Context())
		return err
	}
	if err := use(); err != nil {
		t.Fatalf("a fresh token: %v", err)
	}
	if _, err := client(t, config).CoreV1().Secrets("shop").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:shop:deployer") {
		t.Errorf("listing Secrets gave %v, want it forbidden to system:serviceaccount:shop:deployer", err)
	}
	if err := k.CoreV1().ServiceAccounts("shop").Delete(t.Context(), "deployer", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := use(); !apierrors.IsUnauthorized(err) {
		t.Errorf("after its account was deleted the token gave %v, want Unauthorized", err)
	}
}

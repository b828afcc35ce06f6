package kubelet_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

// signer is an authority that answers PodCertificateRequests.
type signer struct {
	h    *host
	cert *x509.Certificate
	key  crypto.Signer
}

const signerName = "example.com/tests"

func (h *host) newSigner(name string) *signer {
	h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		h.t.Fatal(err)
	}
	return &signer{h, cert, key}
}

func (s *signer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}))
}

// pending waits for the n-th request of a Pod.
func (s *signer) pending(podName string, n int) *certificatesv1.PodCertificateRequest {
	s.h.t.Helper()
	var found *certificatesv1.PodCertificateRequest
	s.h.eventually("a request for a certificate", func() (bool, string) {
		list, err := s.h.client.CertificatesV1().PodCertificateRequests("default").List(s.h.ctx(), metav1.ListOptions{FieldSelector: "spec.podName=" + podName})
		if err != nil || len(list.Items) < n {
			return false, "there are fewer"
		}
		for i := range list.Items {
			if len(list.Items[i].Status.Conditions) == 0 {
				found = &list.Items[i]
			}
		}
		return found != nil, "all are answered"
	})
	return found
}

// issue answers a request, with a certificate that began an hour ago and is to be renewed at a time.
func (s *signer) issue(r *certificatesv1.PodCertificateRequest, renew time.Time) {
	s.h.t.Helper()
	request, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		s.h.t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), DNSNames: []string{r.Spec.PodName}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(3 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, request.PublicKey, s.key)
	if err != nil {
		s.h.t.Fatal(err)
	}
	at := func(t time.Time) *metav1.Time { m := metav1.NewTime(t); return &m }
	r.Status = certificatesv1.PodCertificateRequestStatus{
		CertificateChain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		NotBefore:        at(template.NotBefore), NotAfter: at(template.NotAfter), BeginRefreshAt: at(renew.Truncate(time.Second)),
	}
	s.answer(r, certificatesv1.PodCertificateRequestConditionTypeIssued, "Tested")
}

func (s *signer) answer(r *certificatesv1.PodCertificateRequest, condition, reason string) {
	s.h.t.Helper()
	r.Status.Conditions = []metav1.Condition{{Type: condition, Status: "True", Reason: reason, Message: "as the test wants", LastTransitionTime: metav1.Now()}}
	if _, err := s.h.client.CertificatesV1().PodCertificateRequests(r.Namespace).UpdateStatus(s.h.ctx(), r, metav1.UpdateOptions{}); err != nil {
		s.h.t.Fatal(err)
	}
}

const withCertificate = `{containers: [{name: c, command: [sleep, "1000"], volumeMounts: [{name: v, mountPath: /v}]}],
	volumes: [{name: v, projected: {sources: [
		{podCertificate: {signerName: example.com/tests, keyType: ECDSAP256, credentialBundlePath: all.pem, keyPath: tls.key, certificateChainPath: tls.crt}},
		{clusterTrustBundle: {signerName: example.com/tests, labelSelector: {}, path: ca.crt, optional: true}}]}}]}`

func TestAPodGetsACertificateAndWhomToTrust(t *testing.T) {
	h := start(t)
	s := h.newSigner("one")
	h.create("p", withCertificate)
	r := s.pending("p", 1)
	if r.Spec.SignerName != signerName || r.Spec.PodUID != h.get("p").UID || r.Spec.ServiceAccountName != "default" || r.Spec.NodeName != "n1" {
		t.Errorf("asked with %+v", r.Spec)
	}
	if h.get("p").Status.Phase != v1.PodPending {
		t.Error("the Pod did not wait for its certificate")
	}
	s.issue(r, time.Now().Add(time.Hour))
	h.wait("p", "to be ready", ready)

	h.run("the key fits the certificate", func(t *testing.T) {
		bundle, key, chain := h.exec("p", "cat", "/v/all.pem"), h.exec("p", "cat", "/v/tls.key"), h.exec("p", "cat", "/v/tls.crt")
		if bundle != key+chain {
			t.Error("the bundle is not the key and the chain")
		}
		pair, err := tls.X509KeyPair([]byte(chain), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(s.cert)
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "p"}); err != nil {
			t.Error(err)
		}
	})
	h.run("a bundle that comes later is there at once, each certificate once", func(t *testing.T) {
		if got := h.exec("p", "cat", "/v/ca.crt"); got != "" {
			t.Errorf("before there is a bundle the file has %q", got)
		}
		other := h.newSigner("two")
		for name, text := range map[string]string{"example.com:tests:a": s.pem(), "example.com:tests:b": s.pem() + other.pem()} {
			b := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signerName, TrustBundle: text}}
			if _, err := h.client.CertificatesV1().ClusterTrustBundles().Create(h.ctx(), b, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		h.eventually("both certificates", func() (bool, string) {
			got := h.exec("p", "cat", "/v/ca.crt")
			return strings.Count(got, "BEGIN") == 2 && strings.Contains(got, s.pem()) && strings.Contains(got, other.pem()), got
		})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	h.run("a daemon that starts again asks for nothing new", func(t *testing.T) {
		had := h.exec("p", "cat", "/v/tls.crt")
		h.killNode()
		h.startNode()
		h.create("q", withCertificate) // whose request shows that the daemon is at work
		s.issue(s.pending("q", 1), time.Now().Add(time.Hour))
		h.wait("q", "to be ready", ready)
		if got := h.exec("p", "cat", "/v/tls.crt"); got != had {
			t.Error("the certificate is another one")
		}
		list, err := h.client.CertificatesV1().PodCertificateRequests("default").List(h.ctx(), metav1.ListOptions{FieldSelector: "spec.podName=p"})
		if err != nil || len(list.Items) != 1 {
			t.Errorf("there are %d requests, %v; want the first alone", len(list.Items), err)
		}
	})
	h.run("a certificate that is due is renewed", func(t *testing.T) {
		h.create("r", withCertificate)
		s.issue(s.pending("r", 1), time.Now().Add(-time.Minute))
		h.wait("r", "to be ready", ready)
		had := h.exec("r", "cat", "/v/all.pem")
		// Volumes are looked at once a minute; a change of what they are made from has it done now.
		p := h.get("r")
		p.Labels = map[string]string{"looked-at": "now"}
		if _, err := h.client.CoreV1().Pods("default").Update(h.ctx(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.issue(s.pending("r", 2), time.Now().Add(time.Hour))
		h.eventually("the new certificate", func() (bool, string) {
			got := h.exec("r", "cat", "/v/all.pem")
			_, err := tls.X509KeyPair([]byte(got), []byte(got))
			return got != had && err == nil, "it is the old one"
		})
	})
	h.run("a refusal keeps the Pod from starting and is told", func(t *testing.T) {
		h.create("s", withCertificate)
		s.answer(s.pending("s", 1), certificatesv1.PodCertificateRequestConditionTypeDenied, "UnsupportedKeyType")
		e := h.event("s", "FailedMount")
		h.eventually("the reason in an event", func() (bool, string) {
			e = h.event("s", "PodCertificateRefused")
			return strings.Contains(e.Message, "was denied by signer example.com/tests: UnsupportedKeyType: as the test wants"), e.Message
		})
	})
	h.run("the key is the Pod's alone", func(t *testing.T) {
		h.create("u", strings.Replace(withCertificate, "{containers", "{securityContext: {runAsUser: 101}, containers", 1))
		s.issue(s.pending("u", 1), time.Now().Add(time.Hour))
		h.wait("u", "to be ready", ready)
		if got := h.exec("u", "sh", "-c", "ls -lL /v/tls.key"); !strings.HasPrefix(got, "-rw-------") || !strings.Contains(got, " web ") && !strings.Contains(got, " 101 ") {
			t.Errorf("got %s", got)
		}
		err := h.stream("exec", "u", &v1.PodExecOptions{Command: []string{"sh", "-c", "echo x > /v/tls.key"}, Stdout: true, Stderr: true}, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
		if !errors.As(err, new(utilexec.CodeExitError)) {
			t.Errorf("the Pod may write its own key: %v", err)
		}
	})
}

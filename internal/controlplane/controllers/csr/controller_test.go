package csr_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/csr"
)

func TestAJoiningMachineGetsACertificateThatTheClusterTrusts(t *testing.T) {
	e := controllerstest.New(t)
	ca := csr.CA{Certificate: e.Cluster.PKI.CA, Key: e.Cluster.PKI.CAKey}
	c := csr.New(e.Client, e.Factory, ca)
	e.Start(t, c.Run)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := kubernetes.NewForConfig(e.Cluster.User(t, "system:bootstrap:abcdef", "system:bootstrappers"))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	requests := machine.CertificatesV1().CertificateSigningRequests()
	if _, err := requests.Create(e.Ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "n1"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var got *certificatesv1.CertificateSigningRequest
	controllerstest.Eventually(t, "the certificate is there", func() bool {
		if got, err = requests.Get(e.Ctx, "n1", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		return len(got.Status.Certificate) > 0
	})
	t.Logf("requested and signed in %v", time.Since(began))
	block, _ := pem.Decode(got.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: e.Cluster.PKI.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if cert.Subject.CommonName != "system:node:n1" || !key.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("the certificate is for %s and key %v", cert.Subject, cert.PublicKey)
	}
}

package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// wanted is a certificate to be asked for.
type wanted struct {
	node   string
	signer string
	usage  certificatesv1.KeyUsage
	names  []string
	ips    []net.IP
}

// ErrRefused says that the cluster will not give the certificate.
var ErrRefused = errors.New("was refused")

// request makes a key, asks for a certificate for it and waits for the answer. It gives both as PEM.
func request(ctx context.Context, c kubernetes.Interface, w wanted) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "system:node:" + w.node, Organization: []string{"system:nodes"}},
		DNSNames: w.names, IPAddresses: w.ips,
	}, key)
	if err != nil {
		return nil, err
	}
	csr, err := c.CertificatesV1().CertificateSigningRequests().Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "node-" + w.node + "-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: w.signer,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, w.usage},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	cert, err := await(ctx, c, csr)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})...), nil
}

// await looks at the request until it is answered. A joining node may only get its request, not watch it, so it asks again, ever less often.
func await(ctx context.Context, c kubernetes.Interface, csr *certificatesv1.CertificateSigningRequest) ([]byte, error) {
	name := csr.Name
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		for _, cond := range csr.Status.Conditions {
			if (cond.Type == certificatesv1.CertificateDenied || cond.Type == certificatesv1.CertificateFailed) && cond.Status == v1.ConditionTrue {
				return nil, fmt.Errorf("certificate request %s %w: %s: %s", name, ErrRefused, cond.Reason, cond.Message)
			}
		}
		if len(csr.Status.Certificate) > 0 {
			return csr.Status.Certificate, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("certificate request %s has not been answered; look at it with `kubectl describe csr %s`: %w", name, name, ctx.Err())
		case <-time.After(pause):
		}
		next, err := c.CertificatesV1().CertificateSigningRequests().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("certificate request %s was deleted before it was answered", name)
		}
		if err == nil {
			csr = next
		}
	}
}

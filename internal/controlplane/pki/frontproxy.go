package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// FrontProxyName is the common name by which API servers in Pods know this one.
const FrontProxyName = "front-proxy-client"

// FrontProxy is how this API server shows itself to API servers in Pods, to which it passes on the names of users in headers. Its authority is not
// the cluster's: whoever holds any other certificate must not be able to speak in somebody's name.
type FrontProxy struct {
	// CA is the authority's certificate as PEM.
	CA []byte
	// CertFile and KeyFile hold the client certificate and its key.
	CertFile, KeyFile string
}

// FrontProxy reads the key material of the front proxy, or makes it: an authority, whose key is forgotten at once, and its one client certificate.
func (p *PKI) FrontProxy() (FrontProxy, error) {
	file := func(name string) string { return filepath.Join(p.dir, name) }
	f := FrontProxy{CertFile: file("front-proxy-client.crt"), KeyFile: file("front-proxy-client.key")}
	ca := file("front-proxy-ca.crt")
	var err error
	if f.CA, err = os.ReadFile(ca); err == nil {
		// The authority is written last: where it is, the rest is.
		if _, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile); err != nil {
			return f, fmt.Errorf("%w; remove %s to have new ones made", err, ca)
		}
		return f, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := f.create(); err != nil {
		return f, fmt.Errorf("create the front proxy's certificate: %w", err)
	}
	return f, WriteFile(ca, f.CA, 0o644)
}

func (f *FrontProxy) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "gitopsd-front-proxy-ca"}, NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	f.CA = certPEM(der)
	cert, clientKey, err := (&PKI{CA: ca, CAKey: key}).Client(FrontProxyName)
	if err != nil {
		return err
	}
	if err := WriteFile(f.KeyFile, clientKey, 0o600); err != nil {
		return err
	}
	return WriteFile(f.CertFile, cert, 0o644)
}

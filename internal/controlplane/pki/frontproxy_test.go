package pki

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
)

func TestTheFrontProxyKeepsItsCertificateAndHasAnAuthorityOfItsOwn(t *testing.T) {
	p, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.FrontProxy()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(first.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	own := x509.NewCertPool()
	own.AppendCertsFromPEM(first.CA)
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: own, KeyUsages: usage}); err != nil {
		t.Errorf("its own authority: %v", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: p.Pool(), KeyUsages: usage}); err == nil {
		t.Error("the cluster's authority vouches for the front proxy: any of its clients could be believed to be one")
	}
	if again, err := p.FrontProxy(); err != nil || string(again.CA) != string(first.CA) {
		t.Errorf("asked again: %v, want the same authority", err)
	}
	if err := os.Remove(first.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := p.FrontProxy(); err == nil || !strings.Contains(err.Error(), "front-proxy-ca.crt") {
		t.Errorf("with its key gone: %v, want an error that names what to remove", err)
	}
}

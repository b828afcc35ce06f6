package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// backdate lets hosts whose clocks are behind accept a new certificate.
	backdate = 5 * time.Minute
)

// PKI is the key material of one cluster.
type PKI struct {
	// CA is the cluster's certificate authority, CAKey its key.
	CA    *x509.Certificate
	CAKey crypto.Signer
	// ServiceAccountKey signs ServiceAccount tokens.
	ServiceAccountKey *ecdsa.PrivateKey
	dir               string
}

// Open reads the key material in dir and makes what is missing. A file that is there but cannot be read is an error, never a reason to make a
// new one: nodes and tokens rely on the old.
func Open(dir string) (*PKI, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("key directory: %w", err)
	}
	p := &PKI{dir: dir}
	sa, err := openKey(filepath.Join(dir, "service-account.key"))
	if err != nil {
		return nil, err
	}
	p.ServiceAccountKey = sa
	key, err := openKey(filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	p.CAKey = key
	file := filepath.Join(dir, "ca.crt")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, p.createAuthority(file)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: not a PEM file; restore it from a backup", file)
	}
	if p.CA, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a backup", file, err)
	}
	if pub, ok := p.CA.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		return nil, fmt.Errorf("%s does not belong to ca.key beside it; restore both from one backup", file)
	}
	return p, nil
}

func (p *PKI) createAuthority(file string) error {
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "gitopsd-ca"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, p.CAKey.Public(), p.CAKey)
	if err != nil {
		return fmt.Errorf("create certificate authority: %w", err)
	}
	if p.CA, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return WriteFile(file, certPEM(der), 0o644)
}

// Dir is where the key material is kept.
func (p *PKI) Dir() string { return p.dir }

// CAPEM is the authority's certificate as PEM.
func (p *PKI) CAPEM() []byte { return certPEM(p.CA.Raw) }

// Pool trusts the authority and nobody else.
func (p *PKI) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.CA)
	return pool
}

// Hash identifies the authority: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal. Join tokens carry it.
func (p *PKI) Hash() string {
	sum := sha256.Sum256(p.CA.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Server issues the API server's certificate for the given names and addresses. It lasts as long as the authority; a start makes a new one.
func (p *PKI) Server(hosts []string) (cert, key []byte, err error) {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "gitopsd"}, NotAfter: p.CA.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return p.issue(t)
}

// Client issues a client certificate for a user in the given groups. It lasts as long as the authority.
func (p *PKI) Client(user string, groups ...string) (cert, key []byte, err error) {
	return p.ClientUntil(p.CA.NotAfter, user, groups...)
}

// ClientUntil issues a client certificate that ends at a time, and with the authority at the latest. Nothing can take it back before.
func (p *PKI) ClientUntil(end time.Time, user string, groups ...string) (cert, key []byte, err error) {
	if end.After(p.CA.NotAfter) {
		end = p.CA.NotAfter
	}
	return p.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: user, Organization: groups}, NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// ClientTLS is Client for use in this process.
func (p *PKI) ClientTLS(user string, groups ...string) (tls.Certificate, error) {
	cert, key, err := p.Client(user, groups...)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

func (p *PKI) issue(t *x509.Certificate) (certificate, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t.SerialNumber, t.NotBefore, t.KeyUsage = serial(), time.Now().Add(-backdate), x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, p.CA, k.Public(), p.CAKey)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate of %s: %w", t.Subject, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return certPEM(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

func openKey(file string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			return nil, err
		}
		return k, WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: not a PEM file; restore it from a backup", file)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a backup", file, err)
	}
	ec, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: holds a %T, an ECDSA key is needed; restore it from a backup", file, k)
	}
	return ec, nil
}

// WriteFile replaces file whole or not at all: a crash never leaves half of it.
func WriteFile(file string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return os.Rename(f.Name(), file)
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail on Linux
	}
	return n
}

package podcert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Credential is a private key and the certificates issued for it, each as PEM: one PRIVATE KEY block (PKCS #8), and the leaf before its intermediates.
type Credential struct{ Key, Chain []byte }

// Empty says that there is none.
func (c Credential) Empty() bool { return len(c.Key) == 0 || len(c.Chain) == 0 }

// Bundle is the key and the chain in one piece, as the API defines a credential bundle.
func (c Credential) Bundle() []byte { return append(bytes.Clone(c.Key), c.Chain...) }

// Split takes a bundle apart; what is no bundle gives an empty Credential.
func Split(bundle []byte) Credential {
	key, chain := pem.Decode(bundle)
	if key == nil || key.Type != keyBlock {
		return Credential{}
	}
	return Credential{Key: pem.EncodeToMemory(key), Chain: clean(chain)}
}

const (
	keyBlock  = "PRIVATE KEY"
	certBlock = "CERTIFICATE"
)

// clean drops what stands between the blocks of a chain, and their headers.
func clean(chain []byte) []byte {
	var out bytes.Buffer
	for {
		var block *pem.Block
		if block, chain = pem.Decode(chain); block == nil {
			return out.Bytes()
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: block.Bytes}))
	}
}

// leaf is the certificate of a credential, if it is one for its key.
func leaf(c Credential) (*x509.Certificate, error) {
	block, _ := pem.Decode(c.Chain)
	if block == nil {
		return nil, errors.New("the chain holds no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	block, _ = pem.Decode(c.Key)
	if block == nil {
		return nil, errors.New("there is no key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public := key.(crypto.Signer).Public()
	if same, ok := public.(interface{ Equal(crypto.PublicKey) bool }); !ok || !same.Equal(cert.PublicKey) {
		return nil, errors.New("the certificate was issued for another key")
	}
	return cert, nil
}

// renewal is when a credential whose signer's wish is not known any more is to be renewed: when two thirds of its life are over.
func renewal(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) * 2 / 3)
}

// newKey makes a key of a type that the API names, and an empty request signed with it, which proves that whoever asks has the key.
func newKey(kind string) (key, request []byte, err error) {
	var k crypto.Signer
	switch kind {
	case "RSA3072":
		k, err = rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		k, err = rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		k, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		k, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, k, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, nil, fmt.Errorf("this node makes no keys of type %q; use RSA3072, RSA4096, ECDSAP256, ECDSAP384, ECDSAP521 or ED25519", kind)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("making a key of type %s: %w", kind, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key of type %s: %w", kind, err)
	}
	if request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k); err != nil {
		return nil, nil, fmt.Errorf("proving possession of a key of type %s: %w", kind, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), request, nil
}

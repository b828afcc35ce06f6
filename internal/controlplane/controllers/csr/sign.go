package csr

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

const (
	// longest is how long a certificate lives at most, and when nothing shorter was asked for.
	longest = 365 * 24 * time.Hour
	// shortest is the least that spec.expirationSeconds may ask for, by the field's own comment.
	shortest = 10 * time.Minute
	// backdate lets a certificate be used at once by machines whose clocks are behind.
	backdate = 5 * time.Minute
)

// CA signs certificates.
type CA struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// lifetime is what the requester asked for, within bounds.
func lifetime(seconds *int32) time.Duration {
	if seconds == nil {
		return longest
	}
	return min(longest, max(shortest, time.Duration(*seconds)*time.Second))
}

// sign issues a certificate with the request's key, subject and names, in PEM. It never outlives the CA.
func (ca CA) sign(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage, life time.Duration, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	notAfter := now.Add(life)
	if ca.Certificate.NotAfter.Before(notAfter) {
		notAfter = ca.Certificate.NotAfter
	}
	if !notAfter.After(now) {
		return nil, fmt.Errorf("the CA certificate expired at %s: replace it", ca.Certificate.NotAfter.Format(time.RFC3339))
	}
	template := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)), // positive, as RFC 5280, 4.1.2.2 wants it
		Subject:               req.Subject,
		DNSNames:              req.DNSNames,
		IPAddresses:           req.IPAddresses,
		EmailAddresses:        req.EmailAddresses,
		URIs:                  req.URIs,
		NotBefore:             now.Add(-backdate),
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
	}
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature:
			template.KeyUsage |= x509.KeyUsageDigitalSignature
		case certificatesv1.UsageKeyEncipherment:
			template.KeyUsage |= x509.KeyUsageKeyEncipherment
		case certificatesv1.UsageClientAuth:
			template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		case certificatesv1.UsageServerAuth:
			template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		default:
			return nil, fmt.Errorf("spec.usages: %q is not known to this signer", u)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Certificate, req.PublicKey, ca.Key)
	if err != nil {
		return nil, fmt.Errorf("signing for %s: %w", req.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

package csr

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	nodeUserPrefix      = "system:node:"
	nodesGroup          = "system:nodes"
	bootstrapUserPrefix = "system:bootstrap:"
	bootstrappersGroup  = "system:bootstrappers"
	mastersGroup        = "system:masters"
)

// A rule is what one signer demands of a request. It returns what is wrong, in words that tell the requester what to change.
type rule func(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error

var rules = map[string]rule{
	certificatesv1.KubeAPIServerClientSignerName:        clientRule,
	certificatesv1.KubeAPIServerClientKubeletSignerName: nodeClientRule,
	certificatesv1.KubeletServingSignerName:             nodeServingRule,
}

// parse reads the PEM of spec.request and checks that whoever made it holds the key.
func parse(pemBytes []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(pemBytes)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("spec.request: must be a PEM block of type CERTIFICATE REQUEST")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("spec.request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("spec.request: its signature was not made with the key it asks a certificate for: %w", err)
	}
	return req, nil
}

func clientRule(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if slices.Contains(req.Subject.Organization, mastersGroup) {
		return fmt.Errorf("spec.request: subject: organization %s is never given by this signer", mastersGroup)
	}
	return checkUsages(usages, certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment)
}

func nodeClientRule(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := nodeSubject(req); err != nil {
		return err
	}
	if len(req.DNSNames)+len(req.IPAddresses)+len(req.EmailAddresses)+len(req.URIs) > 0 {
		return fmt.Errorf("spec.request: a node's client certificate may have no subject alternative names, got %s", names(req))
	}
	return checkUsages(usages, certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment)
}

func nodeServingRule(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := nodeSubject(req); err != nil {
		return err
	}
	if len(req.DNSNames)+len(req.IPAddresses) == 0 {
		return fmt.Errorf("spec.request: a node's serving certificate must name a DNS name or an IP address")
	}
	if len(req.EmailAddresses)+len(req.URIs) > 0 {
		return fmt.Errorf("spec.request: a node's serving certificate may name only DNS names and IP addresses, got %s", names(req))
	}
	return checkUsages(usages, certificatesv1.UsageServerAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment)
}

func nodeSubject(req *x509.CertificateRequest) error {
	if name, ok := strings.CutPrefix(req.Subject.CommonName, nodeUserPrefix); !ok || name == "" {
		return fmt.Errorf("spec.request: subject: common name must be %s<node>, got %q", nodeUserPrefix, req.Subject.CommonName)
	}
	if !slices.Equal(req.Subject.Organization, []string{nodesGroup}) {
		return fmt.Errorf("spec.request: subject: organization must be %s and nothing else, got %q", nodesGroup, req.Subject.Organization)
	}
	return nil
}

// checkUsages wants the first of allowed to be there and nothing outside allowed.
func checkUsages(got []certificatesv1.KeyUsage, required certificatesv1.KeyUsage, allowed ...certificatesv1.KeyUsage) error {
	if !slices.Contains(got, required) {
		return fmt.Errorf("spec.usages: must contain %q, got %q", required, got)
	}
	for _, u := range got {
		if u != required && !slices.Contains(allowed, u) {
			return fmt.Errorf("spec.usages: %q is not given by this signer; allowed are %q and %q", u, required, allowed)
		}
	}
	return nil
}

// foreignNames are the names in a serving request that are not the Node's own.
func foreignNames(req *x509.CertificateRequest, node *corev1.Node) []string {
	own := map[string]bool{node.Name: true}
	for _, a := range node.Status.Addresses {
		if ip := net.ParseIP(a.Address); ip != nil {
			own[ip.String()] = true
		} else {
			own[a.Address] = true
		}
	}
	var out []string
	for _, d := range req.DNSNames {
		if !own[d] {
			out = append(out, d)
		}
	}
	for _, ip := range req.IPAddresses {
		if !own[ip.String()] {
			out = append(out, ip.String())
		}
	}
	return out
}

// names lists all subject alternative names.
func names(req *x509.CertificateRequest) string {
	out := slices.Concat(req.DNSNames, req.EmailAddresses)
	for _, ip := range req.IPAddresses {
		out = append(out, ip.String())
	}
	for _, u := range req.URIs {
		out = append(out, u.String())
	}
	return strings.Join(out, ", ")
}

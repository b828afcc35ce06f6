package csr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var now = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// TestDecide reads a request, one property a line:
//
//	signer S      after "kubernetes.io/"
//	by U [G…]     who asks, and the groups
//	cn N          the subject's common name; o O: an organization
//	san X         a DNS name, an IP address, or with "uri:" or "email:" before it one of those
//	usages U,…    left out: what the signer needs
//	is C [D]      a condition it has already, for D (left out: it does not say since when)
//	has-certificate [D]  the certificate, which expires in D (left out: nobody can read it)
//	age D         how long ago it was made, and its conditions
//	forged        its signature is not made with its own key
//
// The arguments of "decide" are the addresses of Node n1, and it does not exist without any.
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var node *corev1.Node
			for _, a := range d.CmdArgs {
				if node == nil {
					node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
				}
				node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.Key})
			}
			a := Decide(Observed{CSR: read(t, d.Input), Now: now, Node: func(name string) *corev1.Node {
				if name == "n1" {
					return node
				}
				return nil
			}})
			return printed(a)
		})
	})
}

func printed(a Actions) string {
	var b strings.Builder
	if a.Delete {
		return "delete\n"
	}
	if v := a.Verdict; v != nil {
		fmt.Fprintf(&b, "%s, %s: %s\n", v.Type, v.Reason, v.Message)
	}
	if a.Sign != nil {
		fmt.Fprintf(&b, "sign for %s\n", a.Sign.Subject.CommonName)
	}
	if b.Len() == 0 {
		b.WriteString("wait\n")
	}
	fmt.Fprintf(&b, "look again in %v\n", a.Recheck)
	return b.String()
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// expiring is a certificate that ends at a time.
func expiring(t *testing.T, end time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func read(t *testing.T, text string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "csr-1", CreationTimestamp: metav1.NewTime(now)}}
	req := &x509.CertificateRequest{}
	var usages []certificatesv1.KeyUsage
	forged := false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		arg := strings.Join(words[1:], " ")
		switch words[0] {
		case "signer":
			csr.Spec.SignerName = "kubernetes.io/" + arg
		case "by":
			csr.Spec.Username, csr.Spec.Groups = words[1], words[2:]
		case "cn":
			req.Subject.CommonName = arg
		case "o":
			req.Subject.Organization = append(req.Subject.Organization, arg)
		case "san":
			addName(t, req, arg)
		case "usages":
			for _, u := range strings.Split(arg, ",") {
				usages = append(usages, certificatesv1.KeyUsage(u))
			}
		case "is":
			c := certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.RequestConditionType(words[1])}
			if len(words) > 2 {
				c.LastUpdateTime = metav1.NewTime(now.Add(-duration(t, words[2])))
			}
			csr.Status.Conditions = append(csr.Status.Conditions, c)
		case "has-certificate":
			csr.Status.Certificate = []byte("x")
			if arg != "" {
				csr.Status.Certificate = expiring(t, now.Add(duration(t, arg)))
			}
		case "age":
			csr.CreationTimestamp = metav1.NewTime(now.Add(-duration(t, arg)))
		case "forged":
			forged = true
		default:
			t.Fatalf("no such line: %s", line)
		}
	}
	if usages == nil {
		usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
		if csr.Spec.SignerName == certificatesv1.KubeletServingSignerName {
			usages[1] = certificatesv1.UsageServerAuth
		}
	}
	csr.Spec.Usages = usages
	csr.Spec.Request = encode(t, req, forged)
	return csr
}

func addName(t *testing.T, req *x509.CertificateRequest, s string) {
	t.Helper()
	if ip := net.ParseIP(s); ip != nil {
		req.IPAddresses = append(req.IPAddresses, ip)
	} else if u, ok := strings.CutPrefix(s, "uri:"); ok {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		req.URIs = append(req.URIs, parsed)
	} else if e, ok := strings.CutPrefix(s, "email:"); ok {
		req.EmailAddresses = append(req.EmailAddresses, e)
	} else {
		req.DNSNames = append(req.DNSNames, s)
	}
}

func encode(t *testing.T, req *x509.CertificateRequest, forged bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, req, key)
	if err != nil {
		t.Fatal(err)
	}
	if forged {
		der[len(der)-1] ^= 1
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func testCA(t *testing.T, life time.Duration) CA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return CA{Certificate: cert, Key: key}
}

func TestACertificateLivesAsLongAsAskedWithinItsBounds(t *testing.T) {
	req, err := parse(encode(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:n1"}}, false))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		ca      time.Duration
		seconds *int32
		want    time.Duration
	}{
		{"nothing asked: a year", 10 * longest, nil, longest},
		{"an hour", 10 * longest, ptr.To[int32](3600), time.Hour},
		{"less than ten minutes", 10 * longest, ptr.To[int32](1), 10 * time.Minute},
		{"more than a year", 10 * longest, ptr.To[int32](1 << 30), longest},
		{"more than the CA has left", time.Hour, nil, time.Hour},
	} {
		ca := testCA(t, c.ca)
		out, err := ca.sign(req, []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}, lifetime(c.seconds), now)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		block, _ := pem.Decode(out)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got := cert.NotAfter.Sub(now); got != c.want {
			t.Errorf("%s: lives %v, want %v", c.name, got, c.want)
		}
		roots := x509.NewCertPool()
		roots.AddCert(ca.Certificate)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
			t.Errorf("%s: a client certificate is good for a server", c.name)
		}
	}
	if _, err := testCA(t, -time.Minute).sign(req, nil, longest, now); err == nil {
		t.Error("an expired CA still signs")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMIH\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if req, err := parse(b); err == nil && req.CheckSignature() != nil {
			t.Error("a request was accepted whose signature is wrong")
		}
	})
}

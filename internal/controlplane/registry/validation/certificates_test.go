package validation_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// pems returns a request, and a certificate, in PEM.
func pems(t *testing.T) (request, certificate []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subject := pkix.Name{CommonName: "system:node:node-1", Organization: []string{"system:nodes"}}
	requestDER, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject}
	certificateDER, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: requestDER}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificateDER})
}

func lines(errs field.ErrorList) []string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return out
}

func TestACertificateSigningRequestSaysWhatIsToBeSignedByWhomAndForWhat(t *testing.T) {
	request, certificate := pems(t)
	block, _ := pem.Decode(request)
	block.Bytes[len(block.Bytes)-1] ^= 1
	forged := pem.EncodeToMemory(block)
	for _, test := range []struct {
		name   string
		change func(*certificatesv1.CertificateSigningRequest)
		want   []string
	}{
		{"a whole one", func(*certificatesv1.CertificateSigningRequest) {}, nil},
		{"a name that clients make up from a hash", func(c *certificatesv1.CertificateSigningRequest) { c.Name = "node-csr-Abc_1" }, nil},
		{"a name that is no part of a path", func(c *certificatesv1.CertificateSigningRequest) { c.Name = "a/b" },
			[]string{`metadata.name: Invalid value: "a/b": may not contain '/'`}},
		{"a certificate instead of a request", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.Request = certificate },
			[]string{`spec.request: Invalid value: "<certificate request>": PEM block type must be CERTIFICATE REQUEST`}},
		{"a request that its key has not signed", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.Request = forged },
			[]string{`spec.request: Invalid value: "<certificate request>": x509: ECDSA verification failure`}},
		{"nobody to sign", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.SignerName = "" }, []string{`spec.signerName: Required value`}},
		{"a signer without a domain", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.SignerName = "ca" },
			[]string{`spec.signerName: Invalid value: "ca": must be a fully qualified domain and path of the form 'example.com/signer-name'`}},
		{"a signer in a domain of one part", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.SignerName = "example/ca" },
			[]string{`spec.signerName: Invalid value: "example": should be a domain with at least two segments separated by dots`}},
		{"a signer of an older version", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.SignerName = "kubernetes.io/legacy-unknown" },
			[]string{`spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version`}},
		{"no usage", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.Usages = nil }, []string{`spec.usages: Required value`}},
		{"a usage twice", func(c *certificatesv1.CertificateSigningRequest) {
			c.Spec.Usages = append(c.Spec.Usages, c.Spec.Usages[0])
		},
			[]string{`spec.usages[2]: Duplicate value: "digital signature"`}},
		{"a short life", func(c *certificatesv1.CertificateSigningRequest) { c.Spec.ExpirationSeconds = ptr.To[int32](599) },
			[]string{`spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)`}},
	} {
		c := csr(request)
		test.change(c)
		if diff := cmp.Diff(test.want, lines(validation.CertificateSigningRequest(c))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
	c := csr(request)
	c.Spec.Usages = []certificatesv1.KeyUsage{"client authentication"}
	if got := validation.CertificateSigningRequest(c); len(got) != 1 || got[0].Type != field.ErrorTypeNotSupported || got[0].Field != "spec.usages[0]" {
		t.Errorf("an unknown usage: got %v, want one error that lists what is supported", got)
	}
}

func csr(request []byte, decisions ...certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequest {
	c := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "a", ResourceVersion: "1"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: request, SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}
	for _, decision := range decisions {
		c.Status.Conditions = append(c.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: decision, Status: corev1.ConditionTrue})
	}
	return c
}

func TestADecisionAboutARequestIsMadeOnceAndInItsOwnPlace(t *testing.T) {
	request, certificate := pems(t)
	const approved, denied, failed = certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed
	issued := func(c *certificatesv1.CertificateSigningRequest, text []byte) *certificatesv1.CertificateSigningRequest {
		c.Status.Certificate = text
		return c
	}
	changed := csr(request)
	changed.Spec.Username = "somebody-else"
	unsure := csr(request, approved)
	unsure.Status.Conditions[0].Status = corev1.ConditionUnknown
	retold := csr(request, approved)
	retold.Status.Conditions[0].Reason = "another"
	withHeader := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: []byte("x")})
	type rule func(obj, old *certificatesv1.CertificateSigningRequest) field.ErrorList
	update, approval, status := rule(validation.CertificateSigningRequestUpdate), rule(validation.CertificateSigningRequestApprovalUpdate), rule(validation.CertificateSigningRequestStatusUpdate)
	for _, test := range []struct {
		name     string
		rule     rule
		obj, old *certificatesv1.CertificateSigningRequest
		want     []string
	}{
		{"an approval through its subresource", approval, csr(request, approved), csr(request), nil},
		{"an approval through the status", status, csr(request, approved), csr(request),
			[]string{`status.conditions: Forbidden: updates may not add a condition of type "Approved"`}},
		{"an approval through the object", update, csr(request, approved), csr(request),
			[]string{`status.conditions: Forbidden: updates may not add a condition of type "Approved"`}},
		{"an approval taken back", approval, csr(request), csr(request, approved),
			[]string{`status.conditions: Forbidden: updates may not remove a condition of type "Approved"`}},
		{"an approval with new reasons, through the status", status, retold, csr(request, approved),
			[]string{`status.conditions: Forbidden: updates may not modify a condition of type "Approved"`}},
		{"both", approval, csr(request, approved, denied), csr(request, approved),
			[]string{`status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive`}},
		{"twice", approval, csr(request, approved, approved), csr(request, approved),
			[]string{`status.conditions[1].type: Duplicate value: "Approved"`}},
		{"perhaps", approval, unsure, csr(request),
			[]string{`status.conditions[0].status: Unsupported value: "Unknown": supported values: "True"`}},
		{"a failure of the signer", status, csr(request, approved, failed), csr(request, approved), nil},
		{"a failure through the approval", approval, csr(request, failed), csr(request),
			[]string{`status.conditions: Forbidden: updates may not add a condition of type "Failed"`}},
		{"the certificate", status, issued(csr(request, approved), certificate), csr(request, approved), nil},
		{"the certificate with words around it", status, issued(csr(request, approved), append([]byte("for node-1\n"), certificate...)), csr(request, approved), nil},
		{"another certificate", status, issued(csr(request, approved), append(bytes.Clone(certificate), '\n')), issued(csr(request, approved), certificate),
			[]string{`status.certificate: Forbidden: field is immutable`}},
		{"the certificate through the approval", approval, issued(csr(request, approved), certificate), csr(request),
			[]string{`status.certificate: Forbidden: field is immutable`}},
		{"a request instead of a certificate", status, issued(csr(request), request), csr(request),
			[]string{`status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE REQUEST"`}},
		{"a certificate with headers", status, issued(csr(request), withHeader), csr(request),
			[]string{`status.certificate: Invalid value: "<certificate data>": no PEM block headers are permitted`}},
		{"no PEM at all", status, issued(csr(request), []byte("x")), csr(request),
			[]string{`status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block`}},
	} {
		if diff := cmp.Diff(test.want, lines(test.rule(test.obj, test.old))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
	if got := update(changed, csr(request)); len(got) != 1 || got[0].Field != "spec" || got[0].Detail != "field is immutable" {
		t.Errorf("another requestor: got %v, want spec to be immutable", got)
	}
}

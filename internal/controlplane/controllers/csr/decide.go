package csr

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// How long requests are kept, so that people can look at them, and how long a serving request may wait for its Node to report its addresses.
const (
	keepDecided = time.Hour
	keepPending = 24 * time.Hour
	nodeReports = time.Minute
)

// Observed is everything a decision rests on.
type Observed struct {
	CSR  *certificatesv1.CertificateSigningRequest
	Node func(name string) *corev1.Node // nil for a Node that does not exist
	Now  time.Time
}

// Verdict is a condition to be added.
type Verdict struct {
	Type    certificatesv1.RequestConditionType
	Reason  string
	Message string
}

// Actions is what is to be done with one request.
type Actions struct {
	Verdict *Verdict                 // condition to write; after Approved follows Sign in the same go
	Sign    *x509.CertificateRequest // to be signed; nil for nothing
	Delete  bool
	Recheck time.Duration
}

// Decide looks at one request. Requests for signers that are not the cluster's own are only cleaned up.
func Decide(o Observed) Actions {
	csr := o.CSR
	if left := retention(o); left <= 0 {
		return Actions{Delete: true}
	} else if finished(csr) {
		return Actions{Recheck: left}
	}
	rest := Actions{Recheck: retention(o)}
	check, ok := rules[csr.Spec.SignerName]
	if !ok {
		return rest
	}
	req, err := parse(csr.Spec.Request)
	if err == nil {
		err = check(req, csr.Spec.Usages)
	}
	switch {
	case is(csr, certificatesv1.CertificateApproved) && err != nil:
		rest.Verdict = &Verdict{certificatesv1.CertificateFailed, "SignerValidationFailure", err.Error()}
	case is(csr, certificatesv1.CertificateApproved):
		rest.Sign = req
	case !automatic(csr):
		// waits for a human
	case err != nil:
		rest.Verdict = &Verdict{certificatesv1.CertificateDenied, "InvalidRequest", err.Error()}
	default:
		var wait time.Duration
		rest.Verdict, wait = judge(o, req)
		if rest.Verdict != nil && rest.Verdict.Type == certificatesv1.CertificateApproved {
			rest.Sign = req
		}
		if wait > 0 {
			rest.Recheck = wait
		}
	}
	return rest
}

// automatic says whether the requester is one about whom this controller decides: a joining machine, or a node speaking for itself.
func automatic(csr *certificatesv1.CertificateSigningRequest) bool {
	switch csr.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return joining(csr) || byNode(csr)
	case certificatesv1.KubeletServingSignerName:
		return byNode(csr)
	}
	return false
}

func joining(csr *certificatesv1.CertificateSigningRequest) bool {
	return strings.HasPrefix(csr.Spec.Username, bootstrapUserPrefix) && slices.Contains(csr.Spec.Groups, bootstrappersGroup)
}

func byNode(csr *certificatesv1.CertificateSigningRequest) bool {
	return strings.HasPrefix(csr.Spec.Username, nodeUserPrefix) && slices.Contains(csr.Spec.Groups, nodesGroup)
}

// judge decides about a well-formed node request. A nil verdict comes with the time to wait for the Node to report itself.
func judge(o Observed, req *x509.CertificateRequest) (*Verdict, time.Duration) {
	csr := o.CSR
	if byNode(csr) && csr.Spec.Username != req.Subject.CommonName {
		return &Verdict{certificatesv1.CertificateDenied, "NotItsOwn",
			fmt.Sprintf("%s may ask for certificates of %s only, not of %s", csr.Spec.Username, csr.Spec.Username, req.Subject.CommonName)}, 0
	}
	if csr.Spec.SignerName == certificatesv1.KubeAPIServerClientKubeletSignerName {
		return &Verdict{certificatesv1.CertificateApproved, "AutoApproved", fmt.Sprintf("client certificate of %s, requested by %s", req.Subject.CommonName, csr.Spec.Username)}, 0
	}
	name := strings.TrimPrefix(req.Subject.CommonName, nodeUserPrefix)
	missing, why := []string{name}, fmt.Sprintf("Node %s does not exist", name)
	if node := o.Node(name); node != nil {
		missing = foreignNames(req, node)
		why = fmt.Sprintf("%s not among the addresses that Node %s reports in its status", strings.Join(missing, ", "), name)
	}
	if len(missing) == 0 {
		return &Verdict{certificatesv1.CertificateApproved, "AutoApproved", fmt.Sprintf("serving certificate of %s for its own names and addresses", req.Subject.CommonName)}, 0
	}
	if left := csr.CreationTimestamp.Add(nodeReports).Sub(o.Now); left > 0 {
		return nil, left
	}
	return &Verdict{certificatesv1.CertificateDenied, "NotItsOwn", why}, 0
}

func is(csr *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) bool {
	return find(csr, t) != nil
}

func find(csr *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i := range csr.Status.Conditions {
		if csr.Status.Conditions[i].Type == t {
			return &csr.Status.Conditions[i]
		}
	}
	return nil
}

// finished says that nothing more will happen to the request.
func finished(csr *certificatesv1.CertificateSigningRequest) bool {
	return len(csr.Status.Certificate) > 0 || is(csr, certificatesv1.CertificateDenied) || is(csr, certificatesv1.CertificateFailed)
}

// retention is how long the request is still kept.
func retention(o Observed) time.Duration {
	since := o.CSR.CreationTimestamp.Time
	for _, c := range o.CSR.Status.Conditions {
		if c.LastUpdateTime.After(since) {
			since = c.LastUpdateTime.Time
		}
	}
	if !finished(o.CSR) {
		return since.Add(keepPending).Sub(o.Now)
	}
	left := since.Add(keepDecided).Sub(o.Now)
	// A certificate that has expired is of no use to anybody, however lately it was issued.
	if block, _ := pem.Decode(o.CSR.Status.Certificate); block != nil {
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil {
			left = min(left, certificate.NotAfter.Sub(o.Now))
		}
	}
	return left
}

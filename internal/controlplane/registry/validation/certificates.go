package validation

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// minCertificateSeconds is the shortest lifetime that the API lets a client ask for.
const minCertificateSeconds = 600

// CertificateSigningRequest says what may be created. Whether the signer will accept it is the signer's business.
func CertificateSigningRequest(obj *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, pathSegmentName)
	spec := &obj.Spec
	if err := certificateRequest(spec.Request); err != nil {
		errs = append(errs, field.Invalid(specPath.Child("request"), "<certificate request>", err.Error()))
	}
	errs = append(errs, signerName(specPath.Child("signerName"), spec.SignerName)...)
	if spec.SignerName == "kubernetes.io/legacy-unknown" {
		errs = append(errs, field.Invalid(specPath.Child("signerName"), spec.SignerName, "the legacy signerName is not allowed via this API version"))
	}
	if spec.ExpirationSeconds != nil && *spec.ExpirationSeconds < minCertificateSeconds {
		errs = append(errs, field.Invalid(specPath.Child("expirationSeconds"), *spec.ExpirationSeconds, fmt.Sprintf("may not specify a duration less than %d seconds (10 minutes)", minCertificateSeconds)))
	}
	usages := specPath.Child("usages")
	if len(spec.Usages) == 0 {
		errs = append(errs, field.Required(usages, ""))
	}
	seen := map[certificatesv1.KeyUsage]bool{}
	for i, usage := range spec.Usages {
		errs = append(errs, oneOf(usages.Index(i), usage, keyUsages...)...)
		if seen[usage] {
			errs = append(errs, field.Duplicate(usages.Index(i), usage))
		}
		seen[usage] = true
	}
	return append(errs, certificateStatus(&obj.Status)...)
}

var keyUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
	certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
	certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
	certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
	certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
}

// certificateRequest wants one PEM block with a request that its own key has signed.
func certificateRequest(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return fmt.Errorf("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

func certificateStatus(status *certificatesv1.CertificateSigningRequestStatus) field.ErrorList {
	errs := certificateConditions(statusPath.Child("conditions"), status.Conditions)
	if len(status.Certificate) > 0 {
		if err := issuedCertificate(status.Certificate); err != nil {
			errs = append(errs, field.Invalid(statusPath.Child("certificate"), "<certificate data>", err.Error()))
		}
	}
	return errs
}

func certificateConditions(at *field.Path, conditions []certificatesv1.CertificateSigningRequestCondition) field.ErrorList {
	var errs field.ErrorList
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, condition := range conditions {
		at := at.Index(i)
		if condition.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		switch condition.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			// These are said once and for all; what is not so is not said.
			errs = append(errs, requiredOneOf(at.Child("status"), condition.Status, corev1.ConditionTrue)...)
		default:
			errs = append(errs, requiredOneOf(at.Child("status"), condition.Status, corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown)...)
		}
		if seen[condition.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), condition.Type))
		}
		if condition.Type == certificatesv1.CertificateApproved && seen[certificatesv1.CertificateDenied] ||
			condition.Type == certificatesv1.CertificateDenied && seen[certificatesv1.CertificateApproved] {
			errs = append(errs, field.Invalid(at.Child("type"), condition.Type, "Approved and Denied conditions are mutually exclusive"))
		}
		seen[condition.Type] = true
	}
	return errs
}

// issuedCertificate wants certificates in PEM, with nothing else in the blocks; text between the blocks is free (RFC 7468).
func issuedCertificate(text []byte) error {
	blocks := 0
	for len(text) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) > 0 {
			return fmt.Errorf("no PEM block headers are permitted")
		}
		if certs, err := x509.ParseCertificates(block.Bytes); err != nil {
			return err
		} else if len(certs) == 0 {
			return fmt.Errorf("found CERTIFICATE PEM block containing 0 certificates")
		}
		blocks++
	}
	if blocks == 0 {
		return fmt.Errorf("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// CertificateSigningRequestUpdate says what a request may be replaced with: an approver and a signer act on what they read, so
// the spec stays. What they decide is written through subresources.
func CertificateSigningRequestUpdate(obj, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := certificateUpdate(obj, old)
	errs = append(errs, decisionsStay(obj, old, certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed)...)
	return append(errs, certificateStays(obj, old)...)
}

// CertificateSigningRequestApprovalUpdate says what may be written through the approval subresource: Approved or Denied.
func CertificateSigningRequestApprovalUpdate(obj, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := certificateUpdate(obj, old)
	errs = append(errs, decisionsStay(obj, old, certificatesv1.CertificateFailed)...)
	return append(errs, certificateStays(obj, old)...)
}

// CertificateSigningRequestStatusUpdate says what a signer may report: the certificate, once, or that it Failed.
func CertificateSigningRequestStatusUpdate(obj, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := certificateUpdate(obj, old)
	errs = append(errs, decisionsStay(obj, old, certificatesv1.CertificateApproved, certificatesv1.CertificateDenied)...)
	if len(old.Status.Certificate) > 0 {
		errs = append(errs, certificateStays(obj, old)...)
	}
	return errs
}

// certificateUpdate holds what is true of every update: what was decided cannot be taken back.
func certificateUpdate(obj, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, validateImmutable(obj.Spec, old.Spec, specPath)...)
	for _, decision := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if len(conditionsOf(old, decision)) > 0 && len(conditionsOf(obj, decision)) == 0 {
			errs = append(errs, field.Forbidden(statusPath.Child("conditions"), fmt.Sprintf("updates may not remove a condition of type %q", decision)))
		}
	}
	return append(errs, certificateStatus(&obj.Status)...)
}

// decisionsStay refuses decisions that are not to be made in this place.
func decisionsStay(obj, old *certificatesv1.CertificateSigningRequest, decisions ...certificatesv1.RequestConditionType) field.ErrorList {
	var errs field.ErrorList
	for _, decision := range decisions {
		now, was := conditionsOf(obj, decision), conditionsOf(old, decision)
		switch {
		case len(now) > len(was):
			errs = append(errs, field.Forbidden(statusPath.Child("conditions"), fmt.Sprintf("updates may not add a condition of type %q", decision)))
		case len(now) == len(was) && !apiequality.Semantic.DeepEqual(now, was):
			errs = append(errs, field.Forbidden(statusPath.Child("conditions"), fmt.Sprintf("updates may not modify a condition of type %q", decision)))
		}
	}
	return errs
}

func conditionsOf(obj *certificatesv1.CertificateSigningRequest, decision certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var found []certificatesv1.CertificateSigningRequestCondition
	for _, condition := range obj.Status.Conditions {
		if condition.Type == decision {
			found = append(found, condition)
		}
	}
	return found
}

func certificateStays(obj, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	if bytes.Equal(obj.Status.Certificate, old.Status.Certificate) {
		return nil
	}
	return field.ErrorList{field.Forbidden(statusPath.Child("certificate"), fieldIsImmutable)}
}

package validation

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits that the certificates API documents.
const (
	maxTrustBundle     = 1024 * 1024
	maxUIDLength       = 128
	minCertificateLife = 60 * 60
	maxKubernetesLife  = 24 * 60 * 60
	maxCertificateLife = 91 * 24 * 60 * 60
)

// ClusterTrustBundle says what may be created. The bundle of a signer carries the signer's name before its own.
func ClusterTrustBundle(obj *certificatesv1.ClusterTrustBundle) field.ErrorList {
	return append(trustBundleHead(obj), trustAnchors(specPath.Child("trustBundle"), obj.Spec.TrustBundle)...)
}

// ClusterTrustBundleUpdate says what a ClusterTrustBundle may be replaced with.
func ClusterTrustBundleUpdate(obj, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
	errs := append(trustBundleHead(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	// Anchors that an older parser took may stay.
	if obj.Spec.TrustBundle != old.Spec.TrustBundle {
		errs = append(errs, trustAnchors(specPath.Child("trustBundle"), obj.Spec.TrustBundle)...)
	}
	return append(errs, validateImmutable(obj.Spec.SignerName, old.Spec.SignerName, specPath.Child("signerName"))...)
}

func trustBundleHead(obj *certificatesv1.ClusterTrustBundle) field.ErrorList {
	signer := obj.Spec.SignerName
	prefix := strings.ReplaceAll(signer, "/", ":") + ":"
	errs := clusterMeta(&obj.ObjectMeta, func(name string, generated bool) []string {
		if signer == "" {
			if strings.Contains(name, ":") {
				return []string{"ClusterTrustBundle without signer name must not have \":\" in its name"}
			}
			return dnsSubdomainName(name, generated)
		}
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, prefix)}
		}
		return dnsSubdomainName(rest, generated)
	})
	if signer != "" {
		errs = append(errs, signerName(specPath.Child("signerName"), signer)...)
	}
	return errs
}

// trustAnchors wants certificates of authorities in PEM, each once, and nothing else that could be taken for one.
func trustAnchors(at *field.Path, text string) field.ErrorList {
	if len(text) > maxTrustBundle {
		return field.ErrorList{field.TooLong(at, "", maxTrustBundle)}
	}
	var errs field.ErrorList
	wrong := func(format string, args ...any) {
		errs = append(errs, field.Invalid(at, "<value omitted>", fmt.Sprintf(format, args...)))
	}
	seen := map[string]int{}
	n := 0
	for rest := []byte(text); ; n++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			wrong("entry %d has bad block type: %v", n, b.Type)
			continue
		}
		if len(b.Headers) > 0 {
			wrong("entry %d has PEM block headers", n)
			continue
		}
		switch c, err := x509.ParseCertificate(b.Bytes); {
		case err != nil:
			wrong("entry %d does not parse as X.509", n)
		case !c.IsCA:
			wrong("entry %d does not have the CA bit set", n)
		case !c.BasicConstraintsValid:
			wrong("entry %d has invalid basic constraints", n)
		}
		if first, ok := seen[string(b.Bytes)]; ok {
			wrong("duplicate trust anchor (indices [%d %d])", first, n)
		} else {
			seen[string(b.Bytes)] = n
		}
	}
	if n == 0 {
		wrong("at least one trust anchor must be provided")
	}
	return errs
}

// PodCertificateRequest says what a node may ask for one of its Pods.
func PodCertificateRequest(obj *certificatesv1.PodCertificateRequest) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	spec := &obj.Spec
	errs = append(errs, signerName(specPath.Child("signerName"), spec.SignerName)...)
	names := map[string]string{"podName": spec.PodName, "serviceAccountName": spec.ServiceAccountName, "nodeName": string(spec.NodeName)}
	for _, child := range sortedKeys(names) {
		name := names[child]
		errs = append(errs, dnsSubdomain(specPath.Child(child), name)...)
	}
	uids := map[string]string{"podUID": string(spec.PodUID), "serviceAccountUID": string(spec.ServiceAccountUID), "nodeUID": string(spec.NodeUID)}
	for _, child := range sortedKeys(uids) {
		uid := uids[child]
		if uid == "" {
			errs = append(errs, field.Invalid(specPath.Child(child), uid, "must not be empty"))
		}
		if len(uid) > maxUIDLength {
			errs = append(errs, field.TooLong(specPath.Child(child), uid, maxUIDLength))
		}
	}
	at := specPath.Child("maxExpirationSeconds")
	most := int32(maxCertificateLife)
	if strings.HasPrefix(spec.SignerName, "kubernetes.io/") {
		most = maxKubernetesLife
	}
	if n := spec.MaxExpirationSeconds; n == nil {
		errs = append(errs, field.Required(at, "must be set"))
	} else if *n < minCertificateLife || *n > most {
		errs = append(errs, field.Invalid(at, *n, fmt.Sprintf("must be in the range [%d, %d]", minCertificateLife, most)))
	}
	if len(spec.StubPKCS10Request) == 0 {
		return append(errs, field.Required(specPath.Child("stubPKCS10Request"), "must be set"))
	}
	request, err := x509.ParseCertificateRequest(spec.StubPKCS10Request)
	if err != nil {
		return append(errs, field.Invalid(specPath.Child("stubPKCS10Request"), "<value omitted>", "must be a PKCS#10 request in DER: "+err.Error()))
	}
	// The signature proves that whoever asks has the key.
	if err := request.CheckSignature(); err != nil {
		errs = append(errs, field.Invalid(specPath.Child("stubPKCS10Request"), "<value omitted>", "signature is not valid: "+err.Error()))
	}
	return errs
}

// PodCertificateRequestUpdate says what a PodCertificateRequest may be replaced with: its metadata may change.
func PodCertificateRequestUpdate(obj, old *certificatesv1.PodCertificateRequest) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, validateImmutable(obj.Spec, old.Spec, specPath)...)
}

// PodCertificateRequestStatusUpdate says what a signer may answer, once.
func PodCertificateRequestStatusUpdate(obj, old *certificatesv1.PodCertificateRequest) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	at := statusPath.Child("conditions")
	known := []string{certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed}
	for i, c := range obj.Status.Conditions {
		errs = append(errs, oneOf(at.Index(i).Child("type"), c.Type, known...)...)
		errs = append(errs, oneOf(at.Index(i).Child("status"), c.Status, "True")...)
		if i > 0 {
			errs = append(errs, field.Invalid(at.Index(i).Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`))
		}
	}
	errs = append(errs, metav1validation.ValidateConditions(obj.Status.Conditions, at)...)
	if len(errs) > 0 {
		return errs
	}
	s := &obj.Status
	if len(old.Status.Conditions) > 0 {
		if !apiequality.Semantic.DeepEqual(*s, old.Status) {
			errs = append(errs, field.Invalid(statusPath, field.OmitValueType{}, "immutable after PodCertificateRequest is issued, denied, or failed"))
		}
		return errs
	}
	issued := len(s.Conditions) == 1 && s.Conditions[0].Type == certificatesv1.PodCertificateRequestConditionTypeIssued
	given := s.CertificateChain != "" || s.NotBefore != nil || s.NotAfter != nil || s.BeginRefreshAt != nil
	switch {
	case issued:
		list := map[string]bool{"notBefore": s.NotBefore == nil, "notAfter": s.NotAfter == nil, "beginRefreshAt": s.BeginRefreshAt == nil, "certificateChain": s.CertificateChain == ""}
		for _, child := range sortedKeys(list) {
			missing := list[child]
			if missing {
				errs = append(errs, field.Required(statusPath.Child(child), "must be present and consistent with the issued certificate"))
			}
		}
		if len(errs) == 0 {
			errs = append(errs, issuedToPod(s)...)
		}
	case given:
		errs = append(errs, field.Invalid(statusPath, field.OmitValueType{}, "non-condition status fields must be empty unless the certificate is issued"))
	}
	return errs
}

// issuedToPod wants the dates beside a certificate to be its own.
func issuedToPod(s *certificatesv1.PodCertificateRequestStatus) field.ErrorList {
	at := statusPath.Child("certificateChain")
	b, _ := pem.Decode([]byte(s.CertificateChain))
	if b == nil || b.Type != "CERTIFICATE" {
		return field.ErrorList{field.Invalid(at, "<value omitted>", "issued certificate chain must begin with a certificate in PEM")}
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return field.ErrorList{field.Invalid(at, "<value omitted>", "leaf certificate does not parse as X.509: "+err.Error())}
	}
	var errs field.ErrorList
	if !s.NotBefore.Time.Equal(c.NotBefore) {
		errs = append(errs, field.Invalid(statusPath.Child("notBefore"), s.NotBefore, "must be set to the NotBefore time encoded in the leaf certificate"))
	}
	if !s.NotAfter.Time.Equal(c.NotAfter) {
		errs = append(errs, field.Invalid(statusPath.Child("notAfter"), s.NotAfter, "must be set to the NotAfter time encoded in the leaf certificate"))
	}
	if s.BeginRefreshAt.Time.Before(c.NotBefore) || s.BeginRefreshAt.Time.After(c.NotAfter) {
		errs = append(errs, field.Invalid(statusPath.Child("beginRefreshAt"), s.BeginRefreshAt, "must be between notBefore and notAfter"))
	}
	return errs
}

// StorageVersionMigration says what may be created.
func StorageVersionMigration(obj *storagemigrationv1.StorageVersionMigration) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	at, r := specPath.Child("resource"), obj.Spec.Resource
	if r.Resource == "" {
		errs = append(errs, field.Required(at.Child("resource"), "resource is required to be set"))
	} else {
		errs = append(errs, invalid(at.Child("resource"), r.Resource, validation.IsDNS1035Label(r.Resource))...)
	}
	if r.Group != "" {
		errs = append(errs, dnsSubdomain(at.Child("group"), r.Group)...)
	}
	return errs
}

// StorageVersionMigrationUpdate says what a StorageVersionMigration may be replaced with.
func StorageVersionMigrationUpdate(obj, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
	errs := append(StorageVersionMigration(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	return append(errs, validateImmutable(obj.Spec, old.Spec, specPath)...)
}

// StorageVersionMigrationStatusUpdate says what the migrator may report: an end is an end.
func StorageVersionMigrationStatusUpdate(obj, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	at := statusPath.Child("conditions")
	errs = append(errs, metav1validation.ValidateConditions(obj.Status.Conditions, at)...)
	if was := old.Status.ResourceVersion; was != "" && was != obj.Status.ResourceVersion {
		errs = append(errs, field.Invalid(statusPath.Child("resourceVersion"), obj.Status.ResourceVersion, fieldIsImmutable))
	}
	is := func(o *storagemigrationv1.StorageVersionMigration, c storagemigrationv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(o.Status.Conditions, string(c))
	}
	done, failed := is(obj, storagemigrationv1.MigrationSucceeded), is(obj, storagemigrationv1.MigrationFailed)
	if done && failed {
		errs = append(errs, field.Invalid(at, obj.Status.Conditions, "Both success and failed conditions cannot be true at the same time"))
	}
	if is(old, storagemigrationv1.MigrationSucceeded) && !done {
		errs = append(errs, field.Invalid(at, obj.Status.Conditions, "Success condition cannot be set to false once it is true"))
	}
	if is(old, storagemigrationv1.MigrationFailed) && !failed {
		errs = append(errs, field.Invalid(at, obj.Status.Conditions, "Failed condition cannot be set to false once it is true"))
	}
	return errs
}

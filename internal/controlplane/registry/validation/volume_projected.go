package validation

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// projectedVolume checks several sources that write into one folder: no two may write the same file.
func projectedVolume(at *field.Path, p *corev1.ProjectedVolumeSource) field.ErrorList {
	errs := fileMode(at.Child("defaultMode"), p.DefaultMode)
	errs = append(errs, fileOwner(at.Child("defaultUser"), p.DefaultUser)...)
	files := projectedFiles{}
	for i := range p.Sources {
		errs = append(errs, exactlyOne(at.Child("sources").Index(i), projection{&p.Sources[i], files}, projections)...)
	}
	return errs
}

// projectedFiles holds the paths that are taken.
type projectedFiles map[string]bool

func (files projectedFiles) add(at *field.Path, file string) field.ErrorList {
	if file == "" {
		return nil
	}
	file = path.Clean(file)
	if files[file] {
		return field.ErrorList{field.Invalid(at, file, "conflicting duplicate paths")}
	}
	files[file] = true
	return nil
}

// projection is one source of a projected volume, with the files that it shares the folder with.
type projection struct {
	*corev1.VolumeProjection
	files projectedFiles
}

var projections = []source[projection]{
	{"secret", func(p projection) bool { return p.Secret != nil }, func(at *field.Path, p projection) field.ErrorList {
		errs := required(at.Child("name"), p.Secret.Name)
		return append(errs, projectedKeys(at.Child("items"), p.Secret.Items, p.files)...)
	}},
	{"configMap", func(p projection) bool { return p.ConfigMap != nil }, func(at *field.Path, p projection) field.ErrorList {
		errs := required(at.Child("name"), p.ConfigMap.Name)
		return append(errs, projectedKeys(at.Child("items"), p.ConfigMap.Items, p.files)...)
	}},
	{"downwardAPI", func(p projection) bool { return p.DownwardAPI != nil }, func(at *field.Path, p projection) field.ErrorList {
		errs := downwardFiles(at.Child("items"), p.DownwardAPI.Items)
		for i, f := range p.DownwardAPI.Items {
			errs = append(errs, p.files.add(at.Child("items").Index(i).Child("path"), f.Path)...)
		}
		return errs
	}},
	{"serviceAccountToken", func(p projection) bool { return p.ServiceAccountToken != nil }, func(at *field.Path, p projection) field.ErrorList {
		return projectedToken(at, p.ServiceAccountToken, p.files)
	}},
	{"clusterTrustBundle", func(p projection) bool { return p.ClusterTrustBundle != nil }, func(at *field.Path, p projection) field.ErrorList {
		return projectedTrustBundle(at, p.ClusterTrustBundle, p.files)
	}},
	{"podCertificate", func(p projection) bool { return p.PodCertificate != nil }, func(at *field.Path, p projection) field.ErrorList {
		return projectedCertificate(at, p.PodCertificate, p.files)
	}},
}

func projectedKeys(at *field.Path, items []corev1.KeyToPath, files projectedFiles) field.ErrorList {
	errs := keysToPaths(at, items)
	for i, item := range items {
		errs = append(errs, files.add(at.Index(i).Child("path"), item.Path)...)
	}
	return errs
}

func projectedToken(at *field.Path, token *corev1.ServiceAccountTokenProjection, files projectedFiles) field.ErrorList {
	var errs field.ErrorList
	if seconds := token.ExpirationSeconds; seconds != nil {
		errs = append(errs, tokenLifetime(at.Child("expirationSeconds"), *seconds)...)
	}
	errs = append(errs, fileOwner(at.Child("user"), token.User)...)
	errs = append(errs, volumeFilePath(at.Child("path"), token.Path)...)
	return append(errs, files.add(at.Child("path"), token.Path)...)
}

// tokenLifetime holds the limits that the API sets to what may be asked of a ServiceAccount's token.
func tokenLifetime(at *field.Path, seconds int64) field.ErrorList {
	switch {
	case seconds < 10*60:
		return field.ErrorList{field.Invalid(at, seconds, "may not specify a duration less than 10 minutes")}
	case seconds > 1<<32:
		return field.ErrorList{field.Invalid(at, seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

func projectedTrustBundle(at *field.Path, bundle *corev1.ClusterTrustBundleProjection, files projectedFiles) field.ErrorList {
	var errs field.ErrorList
	byName, bySigner := bundle.Name != nil, bundle.SignerName != nil
	switch {
	case byName && bySigner:
		errs = append(errs, field.Invalid(at, nil, "only one of name and signerName may be used"))
	case !byName && !bySigner:
		errs = append(errs, field.Required(at, "either name or signerName must be specified"))
	case byName:
		if *bundle.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "must be a valid object name"))
		}
		if bundle.LabelSelector != nil {
			errs = append(errs, field.Invalid(at.Child("labelSelector"), bundle.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case bySigner:
		errs = append(errs, signerName(at.Child("signerName"), *bundle.SignerName)...)
		errs = append(errs, metav1validation.ValidateLabelSelector(bundle.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
	}
	errs = append(errs, fileOwner(at.Child("user"), bundle.User)...)
	errs = append(errs, volumeFilePath(at.Child("path"), bundle.Path)...)
	return append(errs, files.add(at.Child("path"), bundle.Path)...)
}

// The limits of a Pod's certificate, from the API's documentation: one hour, and 91 days.
const (
	minPodCertificateSeconds = 60 * 60
	maxPodCertificateSeconds = 91 * 24 * 60 * 60
)

func projectedCertificate(at *field.Path, cert *corev1.PodCertificateProjection, files projectedFiles) field.ErrorList {
	errs := signerName(at.Child("signerName"), cert.SignerName)
	errs = append(errs, oneOf(at.Child("keyType"), cert.KeyType, "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")...)
	if seconds := cert.MaxExpirationSeconds; seconds != nil && *seconds < minPodCertificateSeconds {
		errs = append(errs, field.Invalid(at.Child("maxExpirationSeconds"), *seconds, fmt.Sprintf("if provided, maxExpirationSeconds must be >= %d", minPodCertificateSeconds)))
	} else if seconds != nil && *seconds > maxPodCertificateSeconds {
		errs = append(errs, field.Invalid(at.Child("maxExpirationSeconds"), *seconds, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", maxPodCertificateSeconds)))
	}
	if cert.CredentialBundlePath == "" && cert.KeyPath == "" && cert.CertificateChainPath == "" {
		errs = append(errs, field.Required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
	for _, file := range []struct{ name, path string }{
		{"credentialBundlePath", cert.CredentialBundlePath}, {"keyPath", cert.KeyPath}, {"certificateChainPath", cert.CertificateChainPath},
	} {
		if file.path != "" {
			errs = append(errs, volumeFilePath(at.Child(file.name), file.path)...)
			errs = append(errs, files.add(at.Child(file.name), file.path)...)
		}
	}
	annotations := at.Child("userAnnotations")
	errs = append(errs, apivalidation.ValidateAnnotations(cert.UserAnnotations, annotations)...)
	for _, key := range sortedKeys(cert.UserAnnotations) {
		errs = append(errs, validation.IsDomainPrefixedKey(annotations, key)...)
	}
	return append(errs, fileOwner(at.Child("user"), cert.User)...)
}

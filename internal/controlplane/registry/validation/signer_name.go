package validation

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The longest that a signer's name can be: a domain, a slash, and a path.
const maxSignerName = validation.DNS1123SubdomainMaxLength + 1 + 317

// signerName wants "domain/path": a domain name of at least two parts, and words that could each be part of a path.
func signerName(at *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || domain == "" || path == "" || strings.Contains(path, "/") {
		return field.ErrorList{field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	for label := range strings.SplitSeq(domain, ".") {
		for _, complaint := range validation.IsDNS1123Label(label) {
			errs = append(errs, field.Invalid(at, domain, "validating label \""+label+"\": "+complaint))
		}
	}
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	for part := range strings.SplitSeq(path, ".") {
		for _, complaint := range validation.IsDNS1123Subdomain(part) {
			errs = append(errs, field.Invalid(at, path, "validating label \""+part+"\": "+complaint))
		}
	}
	if len(name) > maxSignerName {
		errs = append(errs, field.TooLong(at, "", maxSignerName))
	}
	return errs
}

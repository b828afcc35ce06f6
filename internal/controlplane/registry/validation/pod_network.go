package validation

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of resolv.conf(5), as libc's resolvers keep to them; the search list as raised in Kubernetes 1.22 (KEP-2595).
const (
	maxNameservers       = 3
	maxSearchPaths       = 32
	maxSearchListLetters = 2048
)

func podNetwork(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	errs := requiredOneOf(at.Child("dnsPolicy"), spec.DNSPolicy, corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone)
	errs = append(errs, dnsConfig(at.Child("dnsConfig"), spec)...)
	for i, alias := range spec.HostAliases {
		at := at.Child("hostAliases").Index(i)
		errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), alias.IP, true, nil)...)
		for j, name := range alias.Hostnames {
			errs = append(errs, dnsSubdomain(at.Child("hostnames").Index(j), name)...)
		}
	}
	return errs
}

func dnsConfig(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	config, none := spec.DNSConfig, spec.DNSPolicy == corev1.DNSNone
	if config == nil {
		if none {
			return field.ErrorList{field.Required(at, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))}
		}
		return nil
	}
	var errs field.ErrorList
	servers := at.Child("nameservers")
	if none && len(config.Nameservers) == 0 {
		errs = append(errs, field.Required(servers, fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
	}
	if len(config.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(servers, config.Nameservers, fmt.Sprintf("must not have more than %d nameservers", maxNameservers)))
	}
	for i, server := range config.Nameservers {
		errs = append(errs, validation.IsValidIPForLegacyField(servers.Index(i), server, true, nil)...)
	}
	searches := at.Child("searches")
	if len(config.Searches) > maxSearchPaths {
		errs = append(errs, field.Invalid(searches, config.Searches, fmt.Sprintf("must not have more than %d search paths", maxSearchPaths)))
	}
	if len(strings.Join(config.Searches, " ")) > maxSearchListLetters {
		errs = append(errs, field.Invalid(searches, config.Searches, fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", maxSearchListLetters)))
	}
	for i, search := range config.Searches {
		if search != "." { // the root alone: names are searched as they are
			errs = append(errs, invalid(searches.Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(strings.TrimSuffix(search, ".")))...)
		}
	}
	for i, option := range config.Options {
		if option.Name == "" {
			errs = append(errs, field.Required(at.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

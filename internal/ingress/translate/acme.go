package translate

import (
	"cmp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

const (
	// AnnotationACME asks, with the value "true", for the certificates of an Ingress' spec.tls to be had from a certificate authority by ACME.
	AnnotationACME = "gitopsd.io/acme"
	// AnnotationAccount is at the IngressClass of the name ClassName: the thumbprint of the ACME account that asks for certificates (RFC 8555, section 8.1). It is
	// no secret.
	AnnotationAccount = "gitopsd.io/acme-account"
)

// WantsACME says whether the certificates of an Ingress are to be had by ACME.
func WantsACME(ing *networkingv1.Ingress) bool { return ing.Annotations[AnnotationACME] == "true" }

// Account is the thumbprint of the ACME account, empty while there is none.
func (c Classes) Account() string {
	for _, class := range c {
		if class.Name == ClassName {
			return class.Annotations[AnnotationAccount]
		}
	}
	return ""
}

// TLSHosts are the hosts of one of the entries of an Ingress' spec.tls, in lower case: those of all its rules where the entry names none.
func TLSHosts(ing *networkingv1.Ingress, t *networkingv1.IngressTLS) []string {
	var out []string
	for _, h := range t.Hosts {
		out = append(out, strings.ToLower(h))
	}
	if len(t.Hosts) > 0 {
		return out
	}
	for i := range ing.Spec.Rules {
		if h := ing.Spec.Rules[i].Host; h != "" {
			out = append(out, strings.ToLower(h))
		}
	}
	return out
}

// Holders says which namespace has each host: that of the oldest Ingress of ours that names it. Others get no certificate for it, though it leads to this
// cluster, and with it to whoever asks an authority.
func Holders(classes Classes, all []*networkingv1.Ingress) map[string]string {
	return holders(oldestFirst(classes, all))
}

func holders(ours []*networkingv1.Ingress) map[string]string {
	out := map[string]string{}
	hold := func(host, namespace string) {
		if host = strings.ToLower(host); out[host] == "" {
			out[host] = namespace
		}
	}
	for _, ing := range ours {
		for i := range ing.Spec.Rules {
			hold(ing.Spec.Rules[i].Host, ing.Namespace)
		}
		for i := range ing.Spec.TLS {
			for _, h := range ing.Spec.TLS[i].Hosts {
				hold(h, ing.Namespace)
			}
		}
	}
	return out
}

// oldestFirst are those that nodes serve. Of two that claim the same, the first has it.
func oldestFirst(classes Classes, all []*networkingv1.Ingress) []*networkingv1.Ingress {
	var ours []*networkingv1.Ingress
	for _, ing := range all {
		if classes.Ours(ing) {
			ours = append(ours, ing)
		}
	}
	slices.SortFunc(ours, func(x, y *networkingv1.Ingress) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), strings.Compare(key(x), key(y)))
	})
	return ours
}

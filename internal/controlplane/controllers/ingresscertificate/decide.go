package ingresscertificate

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

// AnnotationDirectory is at the Secrets that are made: where their certificates come from.
const AnnotationDirectory = "gitopsd.io/acme-directory"

// Want is a certificate that Ingresses ask for.
type Want struct {
	// Hosts are sorted, each once.
	Hosts []string
	// Ingresses are who asks, sorted by name.
	Ingresses []*networkingv1.Ingress
	// Others are the hosts among them that another namespace has.
	Others []string
}

// Wanted is what the Ingresses of a namespace, out of all, ask to be in one of its Secrets.
func Wanted(classes translate.Classes, all []*networkingv1.Ingress, namespace, secret string) Want {
	var w Want
	for _, ing := range all {
		if ing.Namespace != namespace || !translate.WantsACME(ing) || !classes.Ours(ing) {
			continue
		}
		asks := false
		for i := range ing.Spec.TLS {
			if t := &ing.Spec.TLS[i]; t.SecretName == secret {
				asks = true
				w.Hosts = append(w.Hosts, translate.TLSHosts(ing, t)...)
			}
		}
		if asks {
			w.Ingresses = append(w.Ingresses, ing)
		}
	}
	slices.Sort(w.Hosts)
	w.Hosts = slices.Compact(w.Hosts)
	slices.SortFunc(w.Ingresses, func(a, b *networkingv1.Ingress) int { return strings.Compare(a.Name, b.Name) })
	if len(w.Hosts) > 0 {
		has := translate.Holders(classes, all)
		w.Others = slices.DeleteFunc(slices.Clone(w.Hosts), func(h string) bool { return has[h] == namespace })
	}
	return w
}

// Action is what is to be done for a Secret.
type Action struct {
	// Order says why a certificate is to be ordered now; empty: it is not.
	Order string
	// Again is when to look again; zero: when something changes.
	Again time.Time
	// Problem is what somebody has to mend first.
	Problem string
}

// recheck is how long a host that another namespace has is left alone: nothing else tells here that it was given up.
const recheck = time.Minute

// maxHosts is how many names authorities take in one certificate.
const maxHosts = 100

// Decide says what to do for what is wanted, with the Secret as it is, or nil.
func Decide(w Want, secret *corev1.Secret, directory string, now time.Time) Action {
	if len(w.Ingresses) == 0 {
		return Action{}
	}
	if directory == "" {
		return Action{Problem: "a certificate is asked for by " + translate.AnnotationACME + ", and the control plane has no account: start gitopsd serve with --acme-email"}
	}
	if problem := impossible(w.Hosts); problem != "" {
		return Action{Problem: problem}
	}
	if len(w.Others) > 0 {
		return Action{Problem: strings.Join(w.Others, ", ") + ": an older Ingress of another namespace has the host, and only it gets a certificate for it", Again: now.Add(recheck)}
	}
	if secret == nil {
		return Action{Order: "there is none"}
	}
	from, own := secret.Annotations[AnnotationDirectory]
	if !own || secret.Type != corev1.SecretTypeTLS { // the account's own key is in one that names the authority, too
		return Action{Problem: fmt.Sprintf("Secret %s/%s is there and was not made by ACME: delete it, or name another, or take the annotation %s away", secret.Namespace, secret.Name, translate.AnnotationACME)}
	}
	if from != directory {
		return Action{Order: "it is of another authority, " + from}
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return Action{Order: "it is broken"}
	}
	for _, h := range w.Hosts {
		if pair.Leaf.VerifyHostname(h) != nil {
			return Action{Order: "it is not for " + h}
		}
	}
	at := renewal(pair.Leaf)
	if !now.Before(at) {
		return Action{Order: "it ends on " + pair.Leaf.NotAfter.UTC().Format(time.DateOnly)}
	}
	return Action{Again: at}
}

// impossible says why no certificate can be had for hosts.
func impossible(hosts []string) string {
	switch {
	case len(hosts) == 0:
		return "spec.tls has no hosts, and no rule has one: there is nothing to get a certificate for"
	case len(hosts) > maxHosts:
		return fmt.Sprintf("%d hosts in one certificate, of which authorities take %d: split them over several entries of spec.tls", len(hosts), maxHosts)
	}
	for _, h := range hosts {
		if strings.HasPrefix(h, "*.") {
			return h + ": certificates for wildcards need changes in the DNS, which are not made here: name the hosts, or use cert-manager with an issuer that changes it"
		}
		if _, err := netip.ParseAddr(h); err == nil || !strings.Contains(h, ".") {
			return h + ": no authority certifies this name: it is not one of the public DNS"
		}
	}
	return ""
}

// renewal is when a certificate is ordered anew: after two thirds of its life, as authorities advise.
func renewal(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

// pauses are between an attempt and the next, if that is needed. Authorities allow five failures an hour.
var pauses = []time.Duration{20 * time.Second, 5 * time.Minute, 20 * time.Minute, time.Hour, 6 * time.Hour}

// pause is how long to wait after so many attempts in a row.
func pause(attempts int) time.Duration { return pauses[min(attempts, len(pauses))-1] }

package translate

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// parsed is a Secret's certificate, or what is wrong with it.
type parsed struct {
	cert    *tls.Certificate
	problem string
	there   bool // the Secret is
}

// certify takes the host names of the Ingress' certificates, unless an older Ingress has them.
func (o *one) certify() {
	for i := range o.Spec.TLS {
		t := &o.Spec.TLS[i]
		hosts := TLSHosts(o.Ingress, t)
		if t.SecretName == "" {
			continue // the Ingress leaves the certificate to us: self-signed
		}
		name := o.Namespace + "/" + t.SecretName
		found, ok := o.parsed[name]
		if !ok {
			found = parseTLS(name, o.Secret(name))
			o.parsed[name] = found
		}
		for _, host := range hosts {
			if WantsACME(o.Ingress) && o.holders[host] == o.Namespace {
				o.validated = append(o.validated, host)
			}
		}
		if found.problem != "" && (found.there || !WantsACME(o.Ingress)) { // of one that ACME is to make, the controller tells that makes it
			o.complain(ReasonSecret, "%s; %s served with a self-signed certificate meanwhile", found.problem, strings.Join(hosts, ", ")+plural(len(hosts)))
		}
		for _, host := range hosts {
			c := &routes.Certificate{Host: host, Secret: name, TLS: found.cert}
			switch has := o.hosts[host]; {
			case has == nil:
				o.hosts[host] = c
				o.certificates = append(o.certificates, c)
			case has.Secret != name:
				o.complain(ReasonConflict, "%s: an older Ingress has it served with the certificate of Secret %s; that of %s is not used", host, has.Secret, name)
			}
		}
	}
}

func plural(n int) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

func parseTLS(name string, s Secret) parsed {
	switch {
	case s.Unread != "":
		return parsed{problem: fmt.Sprintf("Secret %s could not be read: %s", name, s.Unread)}
	case s.Object == nil:
		return parsed{problem: fmt.Sprintf("there is no Secret %s", name)}
	}
	for _, k := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(s.Object.Data[k]) == 0 {
			return parsed{problem: fmt.Sprintf("Secret %s has no key %s", name, k), there: true}
		}
	}
	cert, err := tls.X509KeyPair(s.Object.Data[corev1.TLSCertKey], s.Object.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return parsed{problem: fmt.Sprintf("Secret %s: %s", name, strings.TrimPrefix(cmp.Or(err.Error(), "unusable"), "tls: ")), there: true}
	}
	return parsed{cert: &cert, there: true}
}

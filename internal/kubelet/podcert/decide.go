package podcert

import (
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// state of one volume source.
type state struct {
	held    *held    // nil before the first certificate
	pending *pending // nil while nothing is asked for
	refused string   // why a signer will not issue any; it is not asked again for this Pod
}

// held is a credential that is in use.
type held struct {
	Credential
	renew, expires time.Time
}

// pending is a request that was made.
type pending struct {
	name  string
	key   []byte
	asked time.Time
}

// verb is what is to be done for a volume source.
type verb string

const (
	wait verb = "wait" // for an answer, or for the time to renew
	ask  verb = "ask"  // make a key and a request
	take verb = "take" // the certificate that was issued
	stop verb = "stop" // take note that the signer refused
	look verb = "look" // whether the request is there at all
)

// lookAfter is how long a request may be missing from what the watch has told before it is looked for: the watch may lag behind, and a request that
// somebody deleted while it was broken is never told of.
const lookAfter = time.Minute

// decide says what comes next. request is the one pending, as far as it has been seen.
func decide(s state, request *certificatesv1.PodCertificateRequest, now time.Time) verb {
	switch {
	case s.refused != "":
		return wait
	case s.pending == nil && (s.held == nil || !now.Before(s.held.renew)):
		return ask
	case s.pending == nil:
		return wait
	case request == nil && now.Sub(s.pending.asked) >= lookAfter:
		return look
	case request == nil:
		return wait
	}
	for _, c := range request.Status.Conditions {
		switch c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			return take
		case certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed:
			return stop
		}
	}
	return wait
}

// refusal is a signer's answer in words.
func refusal(r *certificatesv1.PodCertificateRequest) string {
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeDenied:
			return fmt.Sprintf("PodCertificateRequest %s/%s was denied by signer %s: %s: %s", r.Namespace, r.Name, r.Spec.SignerName, c.Reason, c.Message)
		case certificatesv1.PodCertificateRequestConditionTypeFailed:
			return fmt.Sprintf("PodCertificateRequest %s/%s failed at signer %s: %s: %s", r.Namespace, r.Name, r.Spec.SignerName, c.Reason, c.Message)
		}
	}
	return ""
}

// issued makes the credential of an answer.
func issued(key []byte, r *certificatesv1.PodCertificateRequest) (*held, error) {
	h := &held{Credential: Credential{Key: key, Chain: clean([]byte(r.Status.CertificateChain))}}
	cert, err := leaf(h.Credential)
	if err != nil {
		return nil, fmt.Errorf("PodCertificateRequest %s/%s: what signer %s issued cannot be used: %w", r.Namespace, r.Name, r.Spec.SignerName, err)
	}
	h.renew, h.expires = renewal(cert), cert.NotAfter
	if t := r.Status.BeginRefreshAt; t != nil {
		h.renew = t.Time
	}
	return h, nil
}

// adopted makes the credential of what a volume holds already; nil if that is none, or over.
func adopted(c Credential, now time.Time) *held {
	if c.Empty() {
		return nil
	}
	cert, err := leaf(c)
	if err != nil || !now.Before(cert.NotAfter) {
		return nil
	}
	return &held{Credential: c, renew: renewal(cert), expires: cert.NotAfter}
}

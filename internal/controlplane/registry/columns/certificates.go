package columns

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// CertificateSigningRequest shows who asks for what, and what was decided.
var CertificateSigningRequest = Table[*certificatesv1.CertificateSigningRequest]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		age(),
		text("SignerName", "Who is asked to sign"),
		text("Requestor", "Who asks"),
		text("RequestedDuration", "How long the certificate is to be valid"),
		text("Condition", "What was decided, and whether the certificate has been issued"),
	},
	Row: func(c *certificatesv1.CertificateSigningRequest) []any {
		requested := none
		if seconds := c.Spec.ExpirationSeconds; seconds != nil {
			requested = duration.HumanDuration(time.Duration(*seconds) * time.Second)
		}
		return []any{c.Name, ageOf(c.CreationTimestamp), orNone(c.Spec.SignerName), c.Spec.Username, requested, requestCondition(&c.Status)}
	},
}

func requestCondition(status *certificatesv1.CertificateSigningRequestStatus) string {
	var approved, denied, failed bool
	for _, c := range status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied:
			denied = true
		case certificatesv1.CertificateFailed:
			failed = true
		}
	}
	text := "Pending"
	switch {
	case denied: // wins over an approval, as it does for the signer
		text = "Denied"
	case approved:
		text = "Approved"
	}
	if failed {
		text += ",Failed"
	}
	if len(status.Certificate) > 0 {
		text += ",Issued"
	}
	return text
}

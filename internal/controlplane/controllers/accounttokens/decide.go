package accounttokens

import (
	"bytes"

	corev1 "k8s.io/api/core/v1"
)

// Action is what is to be done with a Secret.
type Action int

// The actions.
const (
	Nothing Action = iota
	Delete
	Fill
)

// Decide judges a token Secret; account is nil when there is none of that name.
func Decide(s *corev1.Secret, account *corev1.ServiceAccount, ca []byte) Action {
	uid := s.Annotations[corev1.ServiceAccountUIDKey]
	switch {
	case s.Type != corev1.SecretTypeServiceAccountToken || s.DeletionTimestamp != nil:
		return Nothing
	case account == nil || uid != "" && uid != string(account.UID):
		// An account of the same name is not the same: who held the old one's token has no right to the new one.
		return Delete
	case uid == "" || len(s.Data[corev1.ServiceAccountTokenKey]) == 0 || !bytes.Equal(s.Data[corev1.ServiceAccountRootCAKey], ca) ||
		string(s.Data[corev1.ServiceAccountNamespaceKey]) != s.Namespace:
		return Fill
	}
	return Nothing
}

package accounttokens

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestATokenSecretIsFilledOnceAndGoesWithItsAccount(t *testing.T) {
	ca := []byte("ca")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "1"}}
	secret := func(uid, token, authority string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Annotations: map[string]string{corev1.ServiceAccountNameKey: "web", corev1.ServiceAccountUIDKey: uid}},
			Type:       corev1.SecretTypeServiceAccountToken,
			Data:       map[string][]byte{"token": []byte(token), "ca.crt": []byte(authority), "namespace": []byte("shop")},
		}
	}
	other := secret("1", "t", "ca")
	other.Type = corev1.SecretTypeOpaque
	for name, test := range map[string]struct {
		secret  *corev1.Secret
		account *corev1.ServiceAccount
		want    Action
	}{
		"complete":                   {secret("1", "t", "ca"), account, Nothing},
		"new":                        {secret("", "", ""), account, Fill},
		"without its token":          {secret("1", "", "ca"), account, Fill},
		"with another authority":     {secret("1", "t", "old"), account, Fill},
		"of an account that is gone": {secret("1", "t", "ca"), nil, Delete},
		"of an account made anew":    {secret("2", "t", "ca"), account, Delete},
		"that is no token":           {other, nil, Nothing},
		"whose account never was":    {secret("", "", ""), nil, Delete},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Decide(test.secret, test.account, ca); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

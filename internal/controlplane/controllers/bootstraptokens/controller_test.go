package bootstraptokens

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
)

func TestOnlyTokensWithAnExpirationExpire(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name       string
		kind       corev1.SecretType
		namespace  string
		expiration string
		left       time.Duration
		expires    bool
	}{
		{"in an hour", tokenType, "kube-system", "2026-01-02T16:04:05Z", time.Hour, true},
		{"a minute ago", tokenType, "kube-system", "2026-01-02T15:03:05Z", -time.Minute, true},
		{"never", tokenType, "kube-system", "", 0, false},
		{"no time", tokenType, "kube-system", "tomorrow", 0, false},
		{"another type", corev1.SecretTypeOpaque, "kube-system", "2026-01-02T15:03:05Z", 0, false},
		{"another namespace", tokenType, "default", "2026-01-02T15:03:05Z", 0, false},
	} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace}, Type: c.kind, Data: map[string][]byte{expirationKey: []byte(c.expiration)}}
		if left, ok := Left(s, now); left != c.left || ok != c.expires {
			t.Errorf("%s: left %v, expires %v; want %v, %v", c.name, left, ok, c.left, c.expires)
		}
	}
}

func TestATokenIsRemovedWhenItsTimeHasCome(t *testing.T) {
	e := controllerstest.New(t)
	c := New(e.Client, e.Factory)
	e.Start(t, c.Run)
	secrets := e.Client.CoreV1().Secrets("kube-system")
	for name, expiration := range map[string]time.Time{"bootstrap-token-aaaaaa": time.Now().Add(time.Second), "bootstrap-token-bbbbbb": time.Now().Add(time.Hour)} {
		if _, err := secrets.Create(e.Ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Type: tokenType,
			StringData: map[string]string{expirationKey: expiration.UTC().Format(time.RFC3339), "token-id": name[len(name)-6:], "token-secret": "0123456789abcdef"},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	controllerstest.Eventually(t, "the expired token is gone", func() bool {
		_, err := secrets.Get(e.Ctx, "bootstrap-token-aaaaaa", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if _, err := secrets.Get(e.Ctx, "bootstrap-token-bbbbbb", metav1.GetOptions{}); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

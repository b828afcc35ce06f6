package authentication

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/gitopsd/gitopsd/internal/controlplane/auth/webhooktest"
)

// staff knows one token.
func staff(r *authenticationv1.TokenReview) {
	if r.Spec.Token != "good" {
		r.Status = authenticationv1.TokenReviewStatus{Error: "no such token"}
		return
	}
	r.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: r.Spec.Audiences, User: authenticationv1.UserInfo{
		Username: "alice", UID: "7", Groups: []string{"dev"}, Extra: map[string]authenticationv1.ExtraValue{"example.com/tenant": {"shop"}},
	}}
}

func TestAWebhookIsAskedAboutTokensInTheVersionThatIsSaid(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v1beta1"} {
		s := webhooktest.New(t, staff)
		a, err := New(t.Context(), Options{Webhook: Webhook{ConfigFile: s.Kubeconfig, Version: version}}, cluster)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct{ token, want string }{
			{"good", "alice [dev] uid=7 map[example.com/tenant:[shop]]"},
			{"bad", "refused: no such token"},
		} {
			if got := judge(t.Context(), a, test.token); got != test.want {
				t.Errorf("%s, %s (-want +got)\n%s", version, test.token, cmp.Diff(test.want, got))
			}
		}
		for _, r := range s.Asked() {
			if want := "authentication.k8s.io/" + version; r.APIVersion != want || r.Kind != "TokenReview" {
				t.Errorf("asked by a %s of %s, want a TokenReview of %s", r.Kind, r.APIVersion, want)
			}
		}
	}
}

func TestAnAnswerIsBelievedForAsLongAsIsSaid(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ttl  time.Duration
		want int
	}{{time.Hour, 1}, {0, 3}} {
		s := webhooktest.New(t, staff)
		a, err := New(t.Context(), Options{Webhook: Webhook{ConfigFile: s.Kubeconfig, Version: "v1", CacheTTL: test.ttl}}, cluster)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := judge(t.Context(), a, "good"); !strings.HasPrefix(got, "alice") {
				t.Error(got)
			}
		}
		if got := len(s.Asked()); got != test.want {
			t.Errorf("believed for %s: asked %d times about one token, want %d", test.ttl, got, test.want)
		}
	}
}

func TestATokenIsForTheAudienceThatIsAskedAbout(t *testing.T) {
	t.Parallel()
	s := webhooktest.New(t, staff)
	a, err := New(t.Context(), Options{Webhook: Webhook{ConfigFile: s.Kubeconfig, Version: "v1"}}, cluster)
	if err != nil {
		t.Fatal(err)
	}
	ctx := authenticator.WithAudiences(t.Context(), authenticator.Audiences{"vault"})
	r, ok, err := a.AuthenticateToken(ctx, "good")
	if err != nil || !ok || len(r.Audiences) != 1 || r.Audiences[0] != "vault" {
		t.Errorf("the webhook says that the token is for vault: %v, %v, %v", r, ok, err)
	}
	// An answer without audiences speaks for this API server only.
	s.Answer(func(r *authenticationv1.TokenReview) {
		staff(r)
		r.Status.Audiences = nil
	})
	if _, ok, _ := a.AuthenticateToken(ctx, "good"); ok {
		t.Error("a token of this API server's was taken for one of vault's")
	}
}

func TestAWebhookThatDoesNotAnswerRefusesInTime(t *testing.T) {
	t.Parallel()
	s := webhooktest.New(t, staff)
	a, err := New(t.Context(), Options{Webhook: Webhook{ConfigFile: s.Kubeconfig, Version: "v1", CacheTTL: time.Minute}}, cluster)
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]func(){"hangs": s.Hang, "fails": func() { s.Fail(http.StatusBadGateway) }} {
		broken()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		begin := time.Now()
		if got := judge(ctx, a, "one that "+name); !strings.HasPrefix(got, "refused: ") {
			t.Errorf("a webhook that %s: %s", name, got)
		}
		cancel()
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("a webhook that %s held the request for %s, whose time was up after 300 ms", name, took)
		}
	}
	s.Answer(staff)
	if got := judge(t.Context(), a, "good"); !strings.HasPrefix(got, "alice") {
		t.Errorf("when it answers again: %s", got)
	}
}

package authentication

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/gitopsd/gitopsd/internal/controlplane/auth/oidctest"
)

var cluster = Cluster{Issuer: "https://cluster.example.com", ServerID: "test", Anonymous: []apiserver.AnonymousAuthCondition{{Path: "/livez"}}}

// started waits until the keys of every issuer are there.
func started(t *testing.T, o Options) *Authentication {
	t.Helper()
	a, err := New(t.Context(), o, cluster)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the issuers answer", func() bool { return a.inForce.Load().healthy() == nil })
	return a
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func write(t *testing.T, file, text string) string {
	t.Helper()
	// A new file in the old one's place, as editors and mounted ConfigMaps do it.
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	return file
}

// judge says who a token is, or why it is nobody's.
func judge(ctx context.Context, a *Authentication, token string) string {
	r, ok, err := a.AuthenticateToken(ctx, token)
	switch {
	case err != nil:
		return "refused: " + err.Error()
	case !ok:
		return "not judged"
	}
	return who(r.User)
}

func who(u user.Info) string {
	s := fmt.Sprintf("%s %v", u.GetName(), u.GetGroups())
	if u.GetUID() != "" {
		s += " uid=" + u.GetUID()
	}
	if len(u.GetExtra()) > 0 {
		s += fmt.Sprintf(" %v", u.GetExtra())
	}
	return s
}

func indent(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ") }

const structured = `apiVersion: apiserver.config.k8s.io/%s
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: %s
    audiences: [cluster, other-cluster]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
      %s
  claimValidationRules:
  - expression: "claims.exp - claims.iat <= 7200"
    message: tokens may live for two hours at most
  claimMappings:
    username:
      expression: '"home:" + claims.sub'
    groups:
      expression: 'claims.?roles.orValue([])'
    uid:
      claim: sub
    extra:
    - key: example.com/tenant
      valueExpression: claims.?tenant.orValue("")
  userValidationRules:
  - expression: "!user.groups.exists(g, g.startsWith('system:'))"
    message: no issuer makes administrators
`

func TestATokenIsWhatItsClaimsSayByTheRulesOfTheConfiguration(t *testing.T) {
	t.Parallel()
	i, other := oidctest.New(t), oidctest.New(t)
	for _, version := range []string{"v1", "v1beta1"} {
		file := write(t, filepath.Join(t.TempDir(), "config"), fmt.Sprintf(structured, version, i.URL, indent(i.CA)))
		a := started(t, Options{ConfigFile: file})
		for name, test := range map[string]struct {
			token string
			want  string // a prefix
		}{
			"a good token": {i.Token(t, map[string]any{"sub": "alice", "roles": []string{"dev"}, "tenant": "shop"}),
				"home:alice [dev] uid=alice map[example.com/tenant:[shop]]"},
			"the other audience":      {i.Token(t, map[string]any{"sub": "alice", "aud": []string{"x", "other-cluster"}}), "home:alice [] uid=alice"},
			"a wrong audience":        {i.Token(t, map[string]any{"sub": "alice", "aud": "shop"}), "refused: oidc: verify token: oidc: expected audience"},
			"expired":                 {i.Token(t, map[string]any{"sub": "alice", "exp": time.Now().Add(-time.Minute).Unix()}), "refused: oidc: verify token: oidc: token is expired"},
			"not yet":                 {i.Token(t, map[string]any{"sub": "alice", "nbf": time.Now().Add(time.Hour).Unix()}), "refused: oidc: verify token: oidc: current time"},
			"another's signature":     {other.Token(t, map[string]any{"sub": "alice", "iss": i.URL}), "refused: oidc: verify token: failed to verify signature"},
			"another's token":         {other.Token(t, map[string]any{"sub": "alice"}), "not judged"},
			"no user":                 {i.Token(t, nil), "refused: oidc: error evaluating username claim expression"},
			"an administrator":        {i.Token(t, map[string]any{"sub": "alice", "roles": []string{"system:masters"}}), "refused: oidc: error evaluating user info validation rule: validation expression '!user.groups.exists(g, g.startsWith('system:'))' failed: no issuer makes administrators"},
			"too long a life":         {i.Token(t, map[string]any{"sub": "alice", "exp": time.Now().Add(3 * time.Hour).Unix()}), "refused: oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 7200' failed: tokens may live for two hours at most"},
			"no token at all":         {"abc", "not judged"},
			"a token with no content": {"..", "not judged"},
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				if got := judge(t.Context(), a, test.token); !strings.HasPrefix(got, test.want) {
					t.Errorf("(-want +got)\n%s", cmp.Diff(test.want, got))
				}
			})
		}
	}
}

func TestFlagsMeanWhatTheyMeanToTheAPIServerOfKubernetes(t *testing.T) {
	t.Parallel()
	i := oidctest.New(t)
	ca := write(t, filepath.Join(t.TempDir(), "ca"), i.CA)
	claims := map[string]any{"sub": "alice", "email": "a@example.com", "email_verified": true, "name": "Alice", "groups": []string{"dev"}, "tenant": "shop"}
	for name, test := range map[string]struct {
		change func(*OIDC)
		want   string
	}{
		"the subject, after the issuer":        {func(*OIDC) {}, i.URL + "#alice []"},
		"another claim, after the issuer":      {func(o *OIDC) { o.UsernameClaim = "name" }, i.URL + "#Alice []"},
		"an address needs no prefix":           {func(o *OIDC) { o.UsernameClaim = "email" }, "a@example.com []"},
		"a prefix":                             {func(o *OIDC) { o.UsernamePrefix = "home:" }, "home:alice []"},
		"no prefix":                            {func(o *OIDC) { o.UsernamePrefix = "-" }, "alice []"},
		"groups":                               {func(o *OIDC) { o.UsernamePrefix, o.GroupsClaim = "-", "groups" }, "alice [dev]"},
		"groups after a prefix":                {func(o *OIDC) { o.UsernamePrefix, o.GroupsClaim, o.GroupsPrefix = "-", "groups", "home:" }, "alice [home:dev]"},
		"a required claim that is there":       {func(o *OIDC) { o.UsernamePrefix, o.RequiredClaims = "-", map[string]string{"tenant": "shop"} }, "alice []"},
		"a required claim that is not":         {func(o *OIDC) { o.RequiredClaims = map[string]string{"tenant": "bank"} }, "refused: oidc: required claim tenant value does not match"},
		"an algorithm that is not allowed":     {func(o *OIDC) { o.SigningAlgs = []string{"ES256"} }, "refused: oidc: verify token: oidc: id token signed with unsupported algorithm"},
		"a claim for the name that is missing": {func(o *OIDC) { o.UsernameClaim = "nick" }, "refused: oidc: parse username claims \"nick\""},
	} {
		t.Run(name, func(t *testing.T) {
			o := OIDC{IssuerURL: i.URL, ClientID: "cluster", CAFile: ca, UsernameClaim: DefaultUsernameClaim, SigningAlgs: []string{DefaultSigningAlg}}
			test.change(&o)
			if got := judge(t.Context(), started(t, Options{OIDC: o}), i.Token(t, claims)); !strings.HasPrefix(got, test.want) {
				t.Errorf("(-want +got)\n%s", cmp.Diff(test.want, got))
			}
		})
	}
}

func TestAKeyThatTheIssuerRotatedIsFetchedAndTheOldOneNoLongerCounts(t *testing.T) {
	t.Parallel()
	i := oidctest.New(t)
	a := started(t, Options{ConfigFile: write(t, filepath.Join(t.TempDir(), "config"), fmt.Sprintf(structured, "v1", i.URL, indent(i.CA)))})
	old := i.Token(t, map[string]any{"sub": "alice"})
	if got := judge(t.Context(), a, old); !strings.HasPrefix(got, "home:alice") {
		t.Fatal(got)
	}
	fetched := i.KeysAsked()
	if judge(t.Context(), a, old); i.KeysAsked() != fetched {
		t.Error("a known key was fetched again")
	}
	i.Rotate(t)
	if got := judge(t.Context(), a, i.Token(t, map[string]any{"sub": "bob"})); !strings.HasPrefix(got, "home:bob") {
		t.Errorf("signed with the new key: %s", got)
	}
	if got := judge(t.Context(), a, old); !strings.HasPrefix(got, "refused: oidc: verify token: failed to verify signature") {
		t.Errorf("signed with the old key: %s", got)
	}
}

func TestAChangedFileCountsWhenItIsRightAndNotBefore(t *testing.T) {
	t.Parallel()
	first, second := oidctest.New(t), oidctest.New(t)
	text := func(i *oidctest.Issuer) string { return fmt.Sprintf(structured, "v1", i.URL, indent(i.CA)) }
	file := write(t, filepath.Join(t.TempDir(), "config"), text(first))
	a := started(t, Options{ConfigFile: file})
	alice, bob := first.Token(t, map[string]any{"sub": "alice"}), second.Token(t, map[string]any{"sub": "bob"})
	if got := judge(t.Context(), a, bob); got != "not judged" {
		t.Errorf("before the change: %s", got)
	}
	// What is wrong is not in force, however often it is looked at.
	for name, wrong := range map[string]string{
		"no YAML": "{", "another kind": "apiVersion: v1\nkind: Pod\n", "an unknown field": text(second) + "surprise: 1\n",
		"a wrong expression": strings.Replace(text(second), "claims.sub", "claims.", 1), "a plain-text issuer": strings.Replace(text(second), "url: https", "url: http", 1),
		"this cluster as issuer": strings.Replace(text(second), second.URL, cluster.Issuer, 1),
	} {
		if err := a.apply(t.Context(), []byte(wrong)); err == nil {
			t.Errorf("%s was put in force", name)
		}
	}
	if got := judge(t.Context(), a, alice); !strings.HasPrefix(got, "home:alice") {
		t.Errorf("after wrong configurations: %s", got)
	}
	write(t, file, text(second)+"anonymous: {enabled: true, conditions: [{path: /version}]}\n")
	eventually(t, "the second issuer is believed", func() bool { return strings.HasPrefix(judge(t.Context(), a, bob), "home:bob") })
	if got := judge(t.Context(), a, alice); got != "not judged" {
		t.Errorf("the first issuer after the change: %s", got)
	}
	open := func(path string) bool {
		_, ok, err := a.AuthenticateRequest(httptest.NewRequest(http.MethodGet, path, nil))
		return ok && err == nil
	}
	if open("/livez") || !open("/version") {
		t.Errorf("open to everybody: /livez %v, /version %v; want only the latter", open("/livez"), open("/version"))
	}
}

func TestWhatIsOpenToEverybodyIsConfigured(t *testing.T) {
	t.Parallel()
	head := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	for name, test := range map[string]struct {
		config             string
		livez, readyz, api bool
	}{
		"by default what the cluster says": {head, true, false, false},
		"nothing":                          {head + "anonymous: {enabled: false}\n", false, false, false},
		"everything":                       {head + "anonymous: {enabled: true}\n", true, true, true},
		"some paths":                       {head + "anonymous: {enabled: true, conditions: [{path: /readyz}]}\n", false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := started(t, Options{ConfigFile: write(t, filepath.Join(t.TempDir(), "config"), test.config)})
			for path, want := range map[string]bool{"/livez": test.livez, "/readyz": test.readyz, "/api": test.api} {
				r, ok, err := a.AuthenticateRequest(httptest.NewRequest(http.MethodGet, path, nil))
				if err != nil || ok != want || ok && who(r.User) != "system:anonymous [system:unauthenticated]" {
					t.Errorf("%s: open %v (%v), want %v", path, ok, err, want)
				}
			}
		})
	}
}

func TestOptionsThatCannotBeMeantAreRefusedWithTheFlagToChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"an issuer without a client":    {Options{OIDC: OIDC{IssuerURL: "https://i"}}, "--oidc-client-id"},
		"a client without an issuer":    {Options{OIDC: OIDC{ClientID: "c"}}, "--oidc-issuer-url"},
		"a CA without an issuer":        {Options{OIDC: OIDC{CAFile: "f"}}, "--oidc-issuer-url"},
		"flags and a file":              {Options{ConfigFile: "f", OIDC: OIDC{IssuerURL: "https://i", ClientID: "c"}}, "exclude each other"},
		"an unknown algorithm":          {Options{OIDC: OIDC{IssuerURL: "https://i", ClientID: "c", SigningAlgs: []string{"none"}}}, "--oidc-signing-algs"},
		"an issuer without TLS":         {Options{OIDC: OIDC{IssuerURL: "http://i", ClientID: "c", UsernameClaim: "sub"}}, "URL scheme must be https"},
		"a CA file that is not there":   {Options{OIDC: OIDC{IssuerURL: "https://i", ClientID: "c", CAFile: filepath.Join(dir, "no")}}, "--oidc-ca-file"},
		"a config that is not there":    {Options{ConfigFile: filepath.Join(dir, "no")}, "--authentication-config"},
		"a config of another kind":      {Options{ConfigFile: write(t, filepath.Join(dir, "pod"), "apiVersion: v1\nkind: Pod\n")}, "--authentication-config"},
		"a webhook that is not there":   {Options{Webhook: Webhook{ConfigFile: filepath.Join(dir, "no"), Version: "v1"}}, "--authentication-token-webhook-config-file"},
		"a version that does not exist": {Options{Webhook: Webhook{ConfigFile: "f", Version: "v2"}}, "--authentication-token-webhook-version"},
		"a negative time":               {Options{Webhook: Webhook{ConfigFile: "f", Version: "v1", CacheTTL: -1}}, "--authentication-token-webhook-cache-ttl"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(t.Context(), test.o, cluster); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error about %s", err, test.want)
			}
		})
	}
}

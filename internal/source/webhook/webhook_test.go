package webhook_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/internal/source/webhook"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

const githubPush = `{"ref":"refs/heads/main","after":"1111111111111111111111111111111111111111","repository":{
 "clone_url":"https://github.com/org/shop.git","ssh_url":"git@github.com:org/shop.git","git_url":"git://github.com/org/shop.git","html_url":"https://github.com/org/shop"}}`

const one = "1111111111111111111111111111111111111111"

// The bodies are cut down from the examples in the hosts' own documentation.
const (
	giteaPush = `{"ref":"refs/tags/v1.0.0","before":"0000000000000000000000000000000000000000","after":"` + one + `","repository":{
 "clone_url":"https://gitea.example.com/org/shop.git","ssh_url":"git@gitea.example.com:org/shop.git"}}`
	gitlabPush = `{"object_kind":"push","ref":"refs/heads/main","after":"` + one + `","project":{
 "git_http_url":"https://gitlab.example.com/org/shop.git","git_ssh_url":"git@gitlab.example.com:org/shop.git","web_url":"https://gitlab.example.com/org/shop"}}`
	bitbucketPush = `{"push":{"changes":[
 {"new":{"type":"branch","name":"main","target":{"hash":"` + one + `"}},"old":null},
 {"new":{"type":"tag","name":"v1","target":{"hash":"` + one + `"}}},
 {"new":null,"old":{"type":"branch","name":"gone","target":{"hash":"` + one + `"}}}]},
 "repository":{"full_name":"org/shop","links":{"html":{"href":"https://bitbucket.org/org/shop"}}}}`
	bitbucketServerPush = `{"eventKey":"repo:refs_changed","changes":[{"ref":{"id":"refs/heads/main","type":"BRANCH"},"toHash":"` + one + `","type":"UPDATE"}],
 "repository":{"slug":"shop","links":{"clone":[{"href":"ssh://git@bitbucket.example.com:7999/org/shop.git","name":"ssh"},{"href":"https://bitbucket.example.com/scm/org/shop.git","name":"http"}]}}}`
)

// post sends a request to a handler and returns the answer, and the pushes that it took from it.
func post(t *testing.T, h *webhook.Handler, method, path, body string, header map[string]string) (int, string, []webhook.Push) {
	t.Helper()
	var pushes []webhook.Push
	h.Secret = secret
	h.Pushed = func(p webhook.Push) []string {
		pushes = append(pushes, p)
		return []string{"gitopsd-system/shop"}
	}
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for k, v := range header {
		req.Header.Set(k, v)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if ct := rec.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("the answer's content type is %q", ct)
	}
	if !json.Valid(rec.Body.Bytes()) {
		t.Errorf("the answer is no JSON: %s", rec.Body)
	}
	return rec.Code, rec.Body.String(), pushes
}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	m.Run()
}

func TestSignedPushesAreTaken(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		header     map[string]string
		want       []webhook.Push
	}{
		"github": {"/webhook/github", githubPush, map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": webhook.Sign(secret, []byte(githubPush))},
			[]webhook.Push{{
				Repos: []string{"https://github.com/org/shop.git", "git@github.com:org/shop.git", "git://github.com/org/shop.git", "https://github.com/org/shop"},
				Ref:   "refs/heads/main", Commit: "1111111111111111111111111111111111111111",
			}}},
		"gitea": {"/webhook/gitea", giteaPush, map[string]string{"X-Gitea-Event": "push", "X-Gitea-Signature": strings.TrimPrefix(webhook.Sign(secret, []byte(giteaPush)), "sha256=")},
			[]webhook.Push{{Repos: []string{"https://gitea.example.com/org/shop.git", "git@gitea.example.com:org/shop.git"}, Ref: "refs/tags/v1.0.0", Commit: one}}},
		"forgejo": {"/webhook/forgejo", giteaPush, map[string]string{"X-Forgejo-Event": "push", "X-Gitea-Event": "push", "X-Forgejo-Signature": strings.TrimPrefix(webhook.Sign(secret, []byte(giteaPush)), "sha256=")},
			[]webhook.Push{{Repos: []string{"https://gitea.example.com/org/shop.git", "git@gitea.example.com:org/shop.git"}, Ref: "refs/tags/v1.0.0", Commit: one}}},
		"gitlab": {"/webhook/gitlab", gitlabPush, map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": string(secret)},
			[]webhook.Push{{Repos: []string{"https://gitlab.example.com/org/shop.git", "git@gitlab.example.com:org/shop.git", "https://gitlab.example.com/org/shop"}, Ref: "refs/heads/main", Commit: one}}},
		"gitlab, as a system hook": {"/webhook/gitlab", strings.Replace(gitlabPush, "object_kind", "event_name", 1), map[string]string{"X-Gitlab-Event": "System Hook", "X-Gitlab-Token": string(secret)},
			[]webhook.Push{{Repos: []string{"https://gitlab.example.com/org/shop.git", "git@gitlab.example.com:org/shop.git", "https://gitlab.example.com/org/shop"}, Ref: "refs/heads/main", Commit: one}}},
		"bitbucket cloud": {"/webhook/bitbucket", bitbucketPush, map[string]string{"X-Event-Key": "repo:push", "X-Hub-Signature": webhook.Sign(secret, []byte(bitbucketPush))},
			[]webhook.Push{
				{Repos: []string{"https://bitbucket.org/org/shop"}, Ref: "refs/heads/main", Commit: one},
				{Repos: []string{"https://bitbucket.org/org/shop"}, Ref: "refs/tags/v1", Commit: one},
				{Repos: []string{"https://bitbucket.org/org/shop"}, Ref: "refs/heads/gone", Commit: one},
			}},
		"bitbucket server": {"/webhook/bitbucket", bitbucketServerPush, map[string]string{"X-Event-Key": "repo:refs_changed", "X-Hub-Signature": webhook.Sign(secret, []byte(bitbucketServerPush))},
			[]webhook.Push{{Repos: []string{"ssh://git@bitbucket.example.com:7999/org/shop.git", "https://bitbucket.example.com/scm/org/shop.git"}, Ref: "refs/heads/main", Commit: one}}},
		"generic": {"/webhook/generic", `{"repo":"https://git/x.git","ref":"main"}`,
			map[string]string{"X-Gitopsd-Signature": webhook.Sign(secret, []byte(`{"repo":"https://git/x.git","ref":"main"}`))},
			[]webhook.Push{{Repos: []string{"https://git/x.git"}, Ref: "refs/heads/main"}}},
	} {
		t.Run(name, func(t *testing.T) {
			code, body, pushes := post(t, &webhook.Handler{}, http.MethodPost, c.path, c.body, c.header)
			if code != http.StatusAccepted || !strings.Contains(body, "gitopsd-system/shop") {
				t.Errorf("%d %s", code, body)
			}
			if d := cmp.Diff(c.want, pushes); d != "" {
				t.Errorf("pushes (-want +got):\n%s", d)
			}
		})
	}
}

func TestWhatIsNotASignedPushTriggersNothing(t *testing.T) {
	signed := func(body string) map[string]string {
		return map[string]string{
			"X-GitHub-Event": "push", "X-Hub-Signature-256": webhook.Sign(secret, []byte(body)), "X-Gitopsd-Signature": webhook.Sign(secret, []byte(body)),
		}
	}
	large := strings.Repeat("x", webhook.MaxBody+1)
	for name, c := range map[string]struct {
		method, path, body string
		header             map[string]string
		code               int
		text               string
	}{
		"no signature":          {http.MethodPost, "/webhook/github", githubPush, map[string]string{"X-GitHub-Event": "push"}, 401, "X-Hub-Signature-256 must be"},
		"wrong signature":       {http.MethodPost, "/webhook/github", githubPush, map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": webhook.Sign([]byte("other"), []byte(githubPush))}, 401, "missing or wrong"},
		"signature of another":  {http.MethodPost, "/webhook/generic", `{"repo":"x"}`, map[string]string{"X-Gitopsd-Signature": webhook.Sign(secret, []byte(`{"repo":"y"}`))}, 401, "missing or wrong"},
		"sha1 signature":        {http.MethodPost, "/webhook/github", githubPush, map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha1=00"}, 401, "missing or wrong"},
		"oversized":             {http.MethodPost, "/webhook/generic", large, signed(large), 413, "larger than 1048576 bytes"},
		"gitlab, wrong token":   {http.MethodPost, "/webhook/gitlab", gitlabPush, map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": "wrong"}, 401, "X-Gitlab-Token must be"},
		"gitlab, no token":      {http.MethodPost, "/webhook/gitlab", gitlabPush, map[string]string{"X-Gitlab-Event": "Push Hook"}, 401, "X-Gitlab-Token must be"},
		"gitlab, an issue":      {http.MethodPost, "/webhook/gitlab", `{"object_kind":"issue"}`, map[string]string{"X-Gitlab-Event": "Issue Hook", "X-Gitlab-Token": string(secret)}, 200, "nothing to do"},
		"bitbucket, a test":     {http.MethodPost, "/webhook/bitbucket", "{}", map[string]string{"X-Event-Key": "diagnostics:ping", "X-Hub-Signature": webhook.Sign(secret, []byte("{}"))}, 200, "nothing to do"},
		"bitbucket, no ref":     {http.MethodPost, "/webhook/bitbucket", "{}", map[string]string{"X-Event-Key": "repo:push", "X-Hub-Signature": webhook.Sign(secret, []byte("{}"))}, 400, "names no ref"},
		"ping":                  {http.MethodPost, "/webhook/github", "{}", map[string]string{"X-GitHub-Event": "ping", "X-Hub-Signature-256": webhook.Sign(secret, []byte("{}"))}, 200, "nothing to do"},
		"no event":              {http.MethodPost, "/webhook/github", "{}", map[string]string{"X-Hub-Signature-256": webhook.Sign(secret, []byte("{}"))}, 400, "X-GitHub-Event"},
		"get":                   {http.MethodGet, "/webhook/github", "", nil, 405, "posted"},
		"unknown host":          {http.MethodPost, "/webhook/sourceforge", "{}", nil, 404, "no such webhook"},
		"not JSON":              {http.MethodPost, "/webhook/generic", "repo=x", signed("repo=x"), 400, "must be JSON"},
		"no repository":         {http.MethodPost, "/webhook/generic", "{}", signed("{}"), 400, "repo"},
		"github, no repository": {http.MethodPost, "/webhook/github", "{}", signed("{}"), 400, "names no repository"},
	} {
		t.Run(name, func(t *testing.T) {
			code, body, pushes := post(t, &webhook.Handler{}, c.method, c.path, c.body, c.header)
			if code != c.code || !strings.Contains(body, c.text) || len(pushes) > 0 {
				t.Errorf("%d %s %v; want %d with %q and no push", code, body, pushes, c.code, c.text)
			}
		})
	}
}

func TestAFloodFromOneAddressIsHeldOff(t *testing.T) {
	h := &webhook.Handler{}
	held := 0
	for range 1000 {
		if code, _, _ := post(t, h, http.MethodPost, "/webhook/generic", "{}", nil); code == http.StatusTooManyRequests {
			held++
		}
	}
	if held < 500 {
		t.Errorf("%d of 1000 requests were held off", held)
	}
	req := httptest.NewRequest(http.MethodPost, "/webhook/generic", strings.NewReader("{}"))
	req.RemoteAddr = "198.51.100.7:1"
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("another address gets %d", rec.Code)
	}
}

func TestTheSecretIsMadeOnceAndMayBeReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "webhook-secret")
	first, err := webhook.OpenSecret(file)
	if err != nil || len(first) != 64 {
		t.Fatalf("%q, %v", first, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	again, err := webhook.OpenSecret(file)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("%q, then %q: %v", first, again, err)
	}
	for content, ok := range map[string]bool{"my own secret of length\n": true, "short\n": false} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := webhook.OpenSecret(file); (err == nil) != ok || ok && string(got) != strings.TrimSpace(content) {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
}

// FuzzWebhook looks for bodies that make a handler panic, or that it takes without the right signature.
func FuzzWebhook(f *testing.F) {
	f.Add("github", []byte(githubPush), true)
	f.Add("generic", []byte(`{"repo":"x","ref":"refs/tags/v1","commit":"y"}`), true)
	f.Add("generic", []byte(`{"repo":7}`), false)
	f.Add("gitlab", []byte(gitlabPush), true)
	f.Add("gitea", []byte(giteaPush), true)
	f.Add("bitbucket", []byte(bitbucketPush), true)
	f.Add("bitbucket", []byte(bitbucketServerPush), true)
	f.Fuzz(func(t *testing.T, name string, body []byte, signed bool) {
		pushed := 0
		h := &webhook.Handler{Secret: secret, Pushed: func(webhook.Push) []string { pushed++; return nil }}
		req, err := http.NewRequest(http.MethodPost, "http://x/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Path = "/webhook/" + name
		for _, event := range []string{"X-GitHub-Event", "X-Gitea-Event", "X-Gitlab-Event"} {
			req.Header.Set(event, "push")
		}
		req.Header.Set("X-Event-Key", "repo:push")
		if signed {
			for _, proof := range []string{"X-Hub-Signature-256", "X-Hub-Signature", "X-Gitea-Signature", "X-Gitopsd-Signature"} {
				req.Header.Set(proof, webhook.Sign(secret, body))
			}
			req.Header.Set("X-Gitlab-Token", string(secret))
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if pushed > 0 && !signed {
			t.Error("a push without signature was taken")
		}
		if (rec.Code == http.StatusAccepted) != (pushed > 0) {
			t.Errorf("status %d after %d pushes", rec.Code, pushed)
		}
	})
}

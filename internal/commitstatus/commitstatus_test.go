package commitstatus_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/commitstatus"
)

const hash = "0123456789abcdef0123456789abcdef01234567"

func app(edit func(*v1alpha1.Application)) *v1alpha1.Application {
	a := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: "gitopsd-system", Name: "shop", Generation: 2},
		Status: v1alpha1.ApplicationStatus{
			ObservedGeneration: 2, WantedRevision: hash, AppliedRevision: hash, Sync: "Synced", Health: "Healthy",
			Inventory: make([]v1alpha1.ObjectRef, 3),
			Conditions: []metav1.Condition{
				{Type: "SourceReady", Status: metav1.ConditionTrue}, {Type: "Synced", Status: metav1.ConditionTrue, Reason: "Applied"}, {Type: "Healthy", Status: metav1.ConditionTrue},
			},
		},
	}
	edit(a)
	return a
}

func TestWhatIsReportedFollowsFromTheStatus(t *testing.T) {
	synced := func(reason, message string) func(*v1alpha1.Application) {
		return func(a *v1alpha1.Application) {
			a.Status.Conditions[1] = metav1.Condition{Type: "Synced", Status: metav1.ConditionFalse, Reason: reason, Message: message}
		}
	}
	for name, c := range map[string]struct {
		edit  func(*v1alpha1.Application)
		state commitstatus.State
		says  string
	}{
		"applied and healthy": {func(*v1alpha1.Application) {}, commitstatus.Success, "3 objects, all healthy"},
		"not looked at yet":   {func(a *v1alpha1.Application) { a.Status.ObservedGeneration = 1 }, "", ""},
		"no commit seen":      {func(a *v1alpha1.Application) { a.Status.WantedRevision = "" }, "", ""},
		"on its way": {func(a *v1alpha1.Application) {
			a.Status.Health, a.Status.Unhealthy = "Progressing", make([]v1alpha1.ObjectHealth, 2)
		}, commitstatus.Pending, "2 objects are not healthy yet"},
		"waiting": {func(a *v1alpha1.Application) {
			a.Status.AppliedRevision = "old"
			synced("WaitingForDependency", "waits for db")(a)
		}, commitstatus.Pending, "waits for db"},
		"refused": {func(a *v1alpha1.Application) {
			a.Status.AppliedRevision = "old"
			synced("Refused", "web.yaml:3: no\nweb.yaml:4: no")(a)
		}, commitstatus.Failure, "web.yaml:3: no web.yaml:4: no"},
		"denied": {func(a *v1alpha1.Application) {
			a.Status.AppliedRevision = "old"
			synced("Denied", "role.yaml:1: it may not")(a)
		}, commitstatus.Failure, "role.yaml:1: it may not"},
		"does not parse": {func(a *v1alpha1.Application) {
			a.Status.Sync, a.Status.AppliedRevision = "Failed", "old"
			a.Status.Conditions[0] = metav1.Condition{Type: "SourceReady", Status: metav1.ConditionFalse, Message: "web.yaml:3: not YAML"}
		}, commitstatus.Failure, "not YAML"},
		"the host is away": {func(a *v1alpha1.Application) {
			a.Status.Conditions[0] = metav1.Condition{Type: "SourceReady", Status: metav1.ConditionFalse, Message: "unreachable"}
		}, "", ""},
		"rolled back": {func(a *v1alpha1.Application) {
			a.Status.AppliedRevision = "old"
			synced("RolledBack", "did not become healthy")(a)
		}, commitstatus.Failure, "did not become healthy"},
		"stopped": {func(a *v1alpha1.Application) {
			a.Status.AppliedRevision = "old"
			synced("RolloutFailed", "hook failed")(a)
		}, commitstatus.Failure, "hook failed"},
		"drifted":   {synced("Drifted", "somebody"), commitstatus.Success, "healthy"},
		"suspended": {func(a *v1alpha1.Application) { a.Spec.Suspend = true }, commitstatus.Pending, "suspended"},
		"not working": {func(a *v1alpha1.Application) {
			a.Status.Health = "Degraded"
			a.Status.Conditions[2].Message = "Deployment web: crash"
		}, commitstatus.Failure, "crash"},
		"being deleted": {func(a *v1alpha1.Application) { now := metav1.Now(); a.DeletionTimestamp = &now }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, ok := commitstatus.Of(app(c.edit))
			if ok != (c.state != "") || r.State != c.state && ok || ok && !strings.Contains(r.Description, c.says) {
				t.Errorf("%v %+v; want %q with %q", ok, r, c.state, c.says)
			}
			if ok && r.Commit != hash {
				t.Errorf("commit %s", r.Commit)
			}
		})
	}
}

// sent is a request as the host saw it.
type sent struct {
	Method, Path string
	Header       map[string]string
	Body         map[string]string
}

func TestEachHostGetsTheRequestThatItDocuments(t *testing.T) {
	const token = "t0p-s3cret"
	long := strings.Repeat("ä", 300)
	for provider, want := range map[v1alpha1.CommitStatusProvider]sent{
		v1alpha1.GitHub: {
			Path:   "/repos/acme/shop/statuses/" + hash,
			Header: map[string]string{"Authorization": "Bearer " + token, "Accept": "application/vnd.github+json", "X-Github-Api-Version": "2022-11-28"},
			Body:   map[string]string{"state": "failure", "context": "ci/gitopsd", "description": strings.Repeat("ä", 139) + "…"},
		},
		v1alpha1.GitLab: {
			Path:   "/api/v4/projects/acme%2Fshop/statuses/" + hash,
			Header: map[string]string{"Private-Token": token},
			Body:   map[string]string{"state": "failed", "name": "ci/gitopsd", "description": strings.Repeat("ä", 254) + "…"},
		},
		v1alpha1.Gitea: {
			Path:   "/api/v1/repos/acme/shop/statuses/" + hash,
			Header: map[string]string{"Authorization": "token " + token},
			Body:   map[string]string{"state": "failure", "context": "ci/gitopsd", "description": strings.Repeat("ä", 254) + "…"},
		},
	} {
		t.Run(string(provider), func(t *testing.T) {
			var got sent
			code, answer := http.StatusCreated, "{}"
			host := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = sent{Method: r.Method, Path: r.URL.EscapedPath(), Header: map[string]string{}}
				for name := range want.Header {
					got.Header[name] = r.Header.Get(name)
				}
				body, err := io.ReadAll(r.Body)
				if err != nil || json.Unmarshal(body, &got.Body) != nil || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("body %q of type %s: %v", body, r.Header.Get("Content-Type"), err)
				}
				if code == http.StatusTemporaryRedirect {
					w.Header().Set("Location", "/elsewhere")
				}
				w.WriteHeader(code)
				_, _ = io.WriteString(w, answer)
			}))
			defer host.Close()
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: host.Certificate().Raw})
			h, err := commitstatus.New(app(func(a *v1alpha1.Application) {
				a.Spec.Source.RepoURL = "git@git.example.com:acme/shop.git"
				a.Spec.CommitStatus = &v1alpha1.CommitStatus{Provider: provider, URL: host.URL + "/", Context: "ci/gitopsd"}
			}), token, ca)
			if err != nil {
				t.Fatal(err)
			}
			report := commitstatus.Report{Commit: hash, State: commitstatus.Failure, Description: long}
			if err := h.Post(t.Context(), report); err != nil {
				t.Fatal(err)
			}
			want.Method = http.MethodPost
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("request (-want +got):\n%s", d)
			}
			for _, c := range []int{http.StatusUnauthorized, http.StatusBadGateway, http.StatusTemporaryRedirect} {
				code, answer = c, `{"message":"because of this","secret":"of somebody else"}`
				err := h.Post(t.Context(), report)
				var refused *commitstatus.Refused
				if !errors.As(err, &refused) || refused.Code != c || !strings.Contains(err.Error(), "because of this") || strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "somebody else") {
					t.Errorf("answer %d: %v", c, err)
				}
				if got.Path == "/elsewhere" {
					t.Error("a redirect was followed")
				}
			}
			code, answer = http.StatusBadRequest, `{"message":"Cannot transition status via :enqueue from :pending"}`
			if err := h.Post(t.Context(), report); (err == nil) != (provider == v1alpha1.GitLab) {
				t.Errorf("a status that says this already: %v", err)
			}
		})
	}
}

func TestWhereTheAPIIsFollowsFromTheRepository(t *testing.T) {
	for url, provider := range map[string]v1alpha1.CommitStatusProvider{
		"": v1alpha1.GitHub, "file:///srv/shop": v1alpha1.GitHub, "https://git.example.com/shop": v1alpha1.Gitea, "/srv/shop.git": v1alpha1.GitLab,
	} {
		_, err := commitstatus.New(app(func(a *v1alpha1.Application) {
			a.Spec.Source.RepoURL = url
			a.Spec.CommitStatus = &v1alpha1.CommitStatus{Provider: provider}
		}), "x", nil)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", url)) {
			t.Errorf("%q: %v", url, err)
		}
	}
	_, err := commitstatus.New(app(func(a *v1alpha1.Application) {
		a.Spec.Source.RepoURL, a.Spec.CommitStatus = "ssh://git@git.example.com:2222/a/b/c.git", &v1alpha1.CommitStatus{Provider: v1alpha1.GitLab}
	}), "x", []byte("no certificate"))
	if err == nil || !strings.Contains(err.Error(), "caFile") {
		t.Errorf("a certificate that is none: %v", err)
	}
}

package gitserver

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/internal/source/webhook"
)

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "http.proxy="}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestPushIsStoredAndAnnouncedWithASignature(t *testing.T) {
	announced := make(chan map[string]string, 4)
	secret := []byte("s3cret")
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m map[string]string
		if !webhook.Verify(secret, body, r.Header.Get("X-Gitopsd-Signature")) {
			m = map[string]string{"signature": "wrong"}
		} else if err := json.Unmarshal(body, &m); err != nil {
			m = map[string]string{"error": err.Error()}
		}
		announced <- m
	}))
	defer hook.Close()
	s := &Server{
		Root: t.TempDir(), Hook: hook.URL,
		Secret: func() ([]byte, error) { return secret, nil },
		Client: func() (*http.Client, error) { return http.DefaultClient, nil },
	}
	if err := s.Create("shop.git"); err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(s)
	defer host.Close()
	s.URL = host.URL

	work := t.TempDir()
	git(t, work, "clone", "--quiet", host.URL+"/shop.git", ".")
	git(t, work, "checkout", "--quiet", "-b", "main")
	git(t, work, "commit", "--quiet", "--allow-empty", "-m", "one")
	git(t, work, "push", "--quiet", "origin", "main")
	want := map[string]string{"repo": host.URL + "/shop.git", "ref": "refs/heads/main", "commit": git(t, work, "rev-parse", "HEAD")}
	select {
	case got := <-announced:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("webhook (-want +got):\n%s", diff)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no webhook for a push")
	}
	if got := git(t, work, "ls-remote", "origin", "refs/heads/main"); !strings.HasPrefix(got, want["commit"]) {
		t.Errorf("the server's branch is %s, want %s", got, want["commit"])
	}
}

func TestRequestsOutsideARepositoryAreNotFound(t *testing.T) {
	s := &Server{Root: t.TempDir()}
	for _, path := range []string{"/", "/etc/passwd", "/../shop.git/info/refs", "/shop/info/refs", "/.git"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", path, w.Code)
		}
	}
}

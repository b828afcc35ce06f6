package gitserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gitopsd/gitopsd/internal/source/webhook"
)

// Server answers Git clients. Its fields are set before the first request.
type Server struct {
	// Root holds bare repositories, each a folder whose name ends in ".git".
	Root string
	// URL is how clients name this server, without a slash at the end; webhooks say it.
	URL string
	// Hook is where pushes are announced; without it they are not.
	Hook string
	// Secret returns what webhooks are signed with. It is asked each time, as the receiver makes it only when it starts.
	Secret func() ([]byte, error)
	// Client posts the webhooks.
	Client func() (*http.Client, error)

	mu sync.Mutex // one push at a time, so that what a push moved can be told from the branches before and after
}

// Create makes an empty repository that may be pushed to.
func (s *Server) Create(name string) error {
	dir := filepath.Join(s.Root, name)
	if out, err := exec.Command("git", "init", "--quiet", "--bare", "--initial-branch=main", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("make repository %s: %w: %s", dir, err, out)
	}
	if out, err := exec.Command("git", "-C", dir, "config", "http.receivepack", "true").CombinedOutput(); err != nil {
		return fmt.Errorf("let repository %s be pushed to: %w: %s", dir, err, out)
	}
	return nil
}

// ServeHTTP hands the request to git http-backend, and announces what a push has moved.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repo, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !ok || !strings.HasSuffix(repo, ".git") || repo != filepath.Base(repo) {
		http.Error(w, "want /<name>.git/…", http.StatusNotFound)
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
		s.git(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.heads(repo)
	s.git(w, r)
	for ref, commit := range s.heads(repo) {
		if before[ref] != commit && s.Hook != "" {
			go s.announce(repo, ref, commit)
		}
	}
}

func (s *Server) git(w http.ResponseWriter, r *http.Request) {
	path, err := exec.LookPath("git")
	if err != nil {
		http.Error(w, "install git: "+err.Error(), http.StatusInternalServerError)
		return
	}
	backend := cgi.Handler{
		Path: path, Args: []string{"http-backend"}, Dir: s.Root,
		Env:    []string{"GIT_PROJECT_ROOT=" + s.Root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + s.Root, "GIT_CONFIG_NOSYSTEM=1"},
		Stderr: os.Stderr,
	}
	backend.ServeHTTP(w, r)
}

// heads maps the branches of a repository to their commits.
func (s *Server) heads(repo string) map[string]string {
	out, err := exec.Command("git", "--git-dir", filepath.Join(s.Root, repo), "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads").Output()
	if err != nil {
		return nil
	}
	m := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if ref, commit, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			m[ref] = commit
		}
	}
	return m
}

// announce posts one push, as any Git host does, and like any Git host repeats it a few times when nobody listens.
func (s *Server) announce(repo, ref, commit string) {
	body, err := json.Marshal(map[string]string{"repo": s.URL + "/" + repo, "ref": ref, "commit": commit})
	if err != nil {
		panic(err) // a map of strings always has a JSON form
	}
	log := slog.With("repo", repo, "ref", ref, "commit", commit)
	wait := 200 * time.Millisecond
	for range 6 {
		if err = s.post(body); err == nil {
			log.Info("push announced")
			return
		}
		log.Warn("push not announced, trying again", "after", wait, "err", err)
		time.Sleep(wait) // between attempts there is no event to wait for: the other side is down
		wait *= 2
	}
	log.Error("push not announced; the poll will find it", "err", err)
}

func (s *Server) post(body []byte) error {
	secret, err := s.Secret()
	if err != nil {
		return err
	}
	client, err := s.Client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Hook, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Gitopsd-Signature", webhook.Sign(secret, body))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("%s: %s: %s", s.Hook, resp.Status, text)
	}
	return nil
}

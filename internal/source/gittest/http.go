package gittest

import (
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Server shows repositories over smart HTTP, by git's own http-backend.
type Server struct {
	*httptest.Server
	// Authorize, when set, decides whether a request may pass.
	Authorize func(*http.Request) bool
	// Down makes every request fail, as a host does that is up but whose Git service is not.
	Down atomic.Bool
	// Requests counts what was asked.
	Requests atomic.Int64

	root    string
	backend http.Handler
}

// Serve starts a server for the repository; its URL is Server.URL + "/acme/repo.git". tls makes it https, with a certificate that only CA proves.
func (r *Repo) Serve(t testing.TB, tls bool) *Server {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed; apt-get install git")
	}
	s := &Server{root: filepath.Dir(filepath.Dir(r.Bare))}
	s.backend = &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null"},
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.Requests.Add(1)
		switch {
		case s.Down.Load():
			http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
		case s.Authorize != nil && !s.Authorize(req):
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "no", http.StatusUnauthorized)
		default:
			s.backend.ServeHTTP(w, req)
		}
	})
	if tls {
		s.Server = httptest.NewTLSServer(h)
	} else {
		s.Server = httptest.NewServer(h)
	}
	t.Cleanup(s.Close)
	return s
}

// Repo is the URL of the repository.
func (s *Server) Repo() string { return s.URL + "/acme/repo.git" }

// CA is the certificate, in PEM, that the server's own comes from.
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

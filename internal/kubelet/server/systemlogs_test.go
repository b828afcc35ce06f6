package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheHostsLogsAreServedAndNothingBesideThem(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "log")
	if err := os.MkdirAll(filepath.Join(dir, "apt"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"log/apt/history.log": "upgraded\n", "secret": "s3cret\n"} {
		if err := os.WriteFile(filepath.Join(top, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"out": filepath.Join(top, "secret"), "up": "../secret", "in": "apt/history.log"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{Facts: Facts{SystemLogs: dir}}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		s.systemLogs(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	for path, want := range map[string]string{"/logs/": "apt/", "/logs/apt/": "history.log", "/logs/apt/history.log": "upgraded", "/logs/in": "upgraded"} {
		if code, text := get(path); code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	for _, path := range []string{"/logs/out", "/logs/up", "/logs/../secret", "/logs/none"} {
		if code, text := get(path); code == http.StatusOK || strings.Contains(text, "s3cret") {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	s.Facts.SystemLogs = ""
	if code, text := get("/logs/"); code != http.StatusMethodNotAllowed || !strings.Contains(text, "disabled") {
		t.Errorf("when disabled: %d %s", code, text)
	}
}

package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

func TestLogsOfServicesAreAskedForAsTheKubeletsAre(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{"web.log": "one\ntwo\nthree\n", "sub/sub.log": "below\n", "plain": "a\nb", "dir/x": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "out.log")); err != nil {
		t.Fatal(err)
	}
	s := &Server{Facts: Facts{SystemLogs: dir}}
	for query, want := range map[string]string{
		"query=web":                        "one\ntwo\nthree\n",
		"query=web&tailLines=2":            "two\nthree\n",
		"query=web&tailLines=9":            "one\ntwo\nthree\n",
		"query=web&tailLines=0":            "",
		"query=web&pattern=^t&tailLines=1": "three\n",
		"query=web&pattern=^t":             "two\nthree\n",
		"query=web&query=plain":            "one\ntwo\nthree\na\nb\n",
		"query=sub":                        "below\n",
		"query=/sub/sub.log":               "below\n",
		"query=none":                       "none: it is neither in the journal nor among the files none.log, none/none.log, none of " + dir + "\n",
		"query=dir":                        "dir: it is neither in the journal nor among the files dir.log, dir/dir.log, dir of " + dir + "\n",
		"query=out":                        "out: openat out.log: path escapes from parent\n",
		"query=/../x":                      "../x: openat ../x: path escapes from parent\n",
		"query=web&boot=0":                 "web: sinceTime, untilTime and boot are for services whose log is in the journal; a file's lines can be asked for by tailLines and pattern\n",
		"query=/web.log&sinceTime=2026-01-01T00:00:00Z": "400 sinceTime, untilTime and boot are for services whose log is in the journal; a file's lines can be asked for by tailLines and pattern\n",
		"query=-x": "400 query: \"-x\" is no service's name; a file's has a / in it, as in /syslog\n",
		"query=":   "400 query: \"\" is no service's name; a file's has a / in it, as in /syslog\n",
		"query=a&query=b&query=c&query=d&query=e": "400 query: 5 services and files are asked for, and no more than 4 can be\n",
		"query=a&tailLines=x":                     "400 tailLines: must be a whole number from 0 to 100000, got \"x\"\n",
		"query=a&boot=1":                          "400 boot: must be 0 for the present one, or -1, -2, … for those before, got \"1\"\n",
		"query=a&untilTime=now":                   "400 untilTime: must be a time as in RFC 3339, got \"now\"\n",
		"query=a&pattern=(":                       "400 pattern: error parsing regexp: missing closing ): `(`\n",
	} {
		w := httptest.NewRecorder()
		s.systemLogs(w, httptest.NewRequest(http.MethodGet, "/logs/?"+query, nil))
		got := w.Body.String()
		if w.Code != http.StatusOK {
			got = fmt.Sprint(w.Code, " ", got)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

func TestTheJournalIsAskedForWhatIsWanted(t *testing.T) {
	for query, want := range map[string]string{
		"query=web": "--unit=web",
		"query=web&sinceTime=2026-01-02T03:04:05%2B01:00&untilTime=2026-01-02T04:00:00Z": "--unit=web --since=2026-01-02 02:04:05 --until=2026-01-02 04:00:00",
		"query=web&tailLines=7&boot=-1&pattern=a.*b":                                     "--unit=web --lines=7 --boot=-1 --grep=a.*b",
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		q, err := parseLogQuery(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(q.journal(q.services[0]), " "); got != "--utc --no-pager --output=short-precise "+want {
			t.Errorf("%s: %s", query, got)
		}
	}
}

func TestAPipeAmongTheHostsLogsIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "web.log")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{Facts: Facts{SystemLogs: dir}}
	for _, path := range []string{"/logs/web.log", "/logs/?query=web", "/logs/?query=/web.log"} {
		answered := make(chan string)
		go func() {
			w := httptest.NewRecorder()
			s.systemLogs(w, httptest.NewRequest(http.MethodGet, path, nil))
			answered <- w.Body.String()
		}()
		select {
		case text := <-answered:
			if text != "404 page not found\n" && !strings.Contains(text, "neither in the journal nor among the files") {
				t.Errorf("%s: %s", path, text)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it is waited for", path)
			go func() { _ = os.WriteFile(pipe, nil, 0o600) }()
			<-answered
		}
	}
}

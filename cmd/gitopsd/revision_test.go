package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

const full, older = "0123456789abcdef0123456789abcdef01234567", "fedcba9876543210fedcba9876543210fedcba98"

func TestARevisionIsACommitThatIsKnownThenABranchThenATag(t *testing.T) {
	app := &v1alpha1.Application{Spec: v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: "https://git.example.com/shop.git"}}, Status: v1alpha1.ApplicationStatus{AppliedRevision: full, History: []v1alpha1.HistoryEntry{{Revision: older}}}}
	there := map[v1alpha1.Ref]bool{{Branch: "main"}: true, {Branch: "beef"}: true, {Tag: "v1"}: true, {Commit: full}: true, {Commit: older}: true}
	for rev, want := range map[string]v1alpha1.Ref{
		"main": {Branch: "main"}, "v1": {Tag: "v1"}, full: {Commit: full}, "0123": {Commit: full}, "fedcba98": {Commit: older},
		"beef": {Branch: "beef"}, // hexadecimal, and no commit that is known
		"012":  {},               // too little to tell
		"nope": {},
	} {
		var got v1alpha1.Ref
		err := eachRef(app, rev, func(r v1alpha1.Ref) error {
			if !there[r] {
				return &source.Error{Reason: source.RefNotFound, Message: "not there"}
			}
			got = r
			return nil
		})
		if got != want || (err == nil) != (want != v1alpha1.Ref{}) {
			t.Errorf("%s is %+v (%v), want %+v", rev, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), rev) {
			t.Errorf("%s: the error does not name it: %v", rev, err)
		}
	}
	broken := errors.New("the host is down")
	if err := eachRef(app, "main", func(v1alpha1.Ref) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("another failure than that there is no such ref became %v", err)
	}
}

func TestAnObjectIsNamedInOneWordOrTwo(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{{[]string{"deploy/web"}, "deploy web"}, {[]string{"deploy", "web"}, "deploy web"}, {[]string{"rings.example.com/one"}, "rings.example.com one"}, {[]string{"web"}, ""}, {[]string{"deploy/"}, ""}} {
		kind, name, err := kindAndName(c.args)
		if got := strings.TrimSpace(kind + " " + name); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q is %q, %v, want %q", c.args, got, err, c.want)
		}
	}
}

func TestAnOutageSaysWhatIsKnownOnThisMachine(t *testing.T) {
	dir := t.TempDir()
	refused := fmt.Errorf("the control plane does not answer: %w", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")})
	config := &rest.Config{Host: "https://192.0.2.1:6443"}
	t.Setenv("KUBECONFIG", "")
	c := &connection{dataDir: dir}
	o := c.outage(config, refused)
	if o.Server != config.Host || o.Problem != "dial tcp: connection refused" || o.Process != "" || o.DataDir != "" || o.Next == "" {
		t.Errorf("where there is no data directory: %+v", o)
	}
	held := func(pid int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "lock"), fmt.Appendln(nil, pid), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A process that is not gitopsd has the number now.
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	held(other.Process.Pid)
	store := filepath.Join(dir, "git", "shop.git")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(store, "gitopsd.json"), []byte(`{"url":"https://git/shop.git","commits":[{"hash":"`+older+`"},{"hash":"`+full+`"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	o = c.outage(config, refused)
	if o.Process != "gitopsd serve does not run" || !strings.Contains(o.Next, dir) || len(o.Repos) != 1 || o.Repos[0].Commit != full || o.Repos[0].Fetched.IsZero() {
		t.Errorf("with a data directory: %+v", o)
	}
	held(os.Getpid()) // the test's program is gitopsd.test
	if o = c.outage(config, refused); !strings.Contains(o.Process, fmt.Sprintf("process %d runs", os.Getpid())) {
		t.Errorf("with a process that runs: %+v", o)
	}
}

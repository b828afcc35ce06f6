package unit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAHostsImageGetsTheProgramAndAUnitThatStartsIt(t *testing.T) {
	root := t.TempDir()
	program := filepath.Join(t.TempDir(), "node")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := Options{Root: root, Program: program, Flags: []string{"--server", "https://10.0.0.1:6443", "--label", "zone=a b", "--label", `x="$HOME"`, "--name", "50%"}}
	for range 2 { // again is the same
		done, err := Install(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(done, "\n"); !strings.Contains(got, "starts when this system is booted") {
			t.Errorf("it did %s", got)
		}
	}
	b, err := os.ReadFile(filepath.Join(root, unitDir, wanted, Service)) // by way of the link
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`ExecStart=/usr/local/bin/node-gitopsd --server https://10.0.0.1:6443 --label "zone=a b" --label "x=\"$$HOME\"" --name 50%%`,
		"KillMode=process", "Delegate=yes", "Restart=always", "WantedBy=multi-user.target",
	} {
		if !strings.Contains(string(b), "\n"+line+"\n") {
			t.Errorf("the unit lacks the line %s:\n%s", line, b)
		}
	}
	if info, err := os.Stat(filepath.Join(root, Program)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program: %v, %v", info, err)
	}
	for i := range 2 {
		done, err := Uninstall(t.Context(), o)
		if err != nil || i == 0 && len(done) != 3 || i == 1 && len(done) != 0 {
			t.Errorf("taking it back: %q, %v", done, err)
		}
	}
	var left []string
	filepath.WalkDir(root, func(path string, d os.DirEntry, _ error) error {
		if !d.IsDir() {
			left = append(left, path)
		}
		return nil
	})
	if len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAHandlerIsTheNameOfAShim(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"containerd-shim-runsc-v1", "containerd-shim-kata-v2", "containerd-shim-both-v1", "containerd-shim-both-v2"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	for handler, want := range map[string]string{
		"": "io.containerd.runc.v2", "runc": "io.containerd.runc.v2", "runsc": "io.containerd.runsc.v1", "kata": "io.containerd.kata.v2", "both": "io.containerd.both.v2",
		"io.containerd.kata.v2": "io.containerd.kata.v2", "io.containerd.both.v1": "io.containerd.both.v1",
		"io.containerd.kata.v1": "", "io.containerd.kata": "", "nvidia": "", "../kata": "",
	} {
		got, err := ForHandler(handler)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("handler %q: got %q, %v, want %q", handler, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "no runtime for \""+handler+"\" is configured") {
			t.Errorf("handler %q: %v", handler, err)
		}
	}
}

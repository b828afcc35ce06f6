package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCommandsFindTheControlPlaneOfServeAndOfUp(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"nothing yet":          {nil, "."},
		"serve":                {[]string{"admin.kubeconfig"}, "."},
		"up":                   {[]string{"control-plane/admin.kubeconfig", "node/lock"}, "control-plane"},
		"first serve, then up": {[]string{"admin.kubeconfig", "control-plane/admin.kubeconfig"}, "."},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range c.files {
				f = filepath.Join(dir, f)
				if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := controlPlaneDir(dir), filepath.Join(dir, c.want); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

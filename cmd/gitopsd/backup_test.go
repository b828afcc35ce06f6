package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A state that is begun for the backup would be one of nothing, and the next start of the control plane would take it for the cluster's: it would not wait for nodes' volumes.
func TestThereIsNoBackupOfAStateThatIsLost(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "pki"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.tar")
	if _, err := takeBackup(t.Context(), dir, file); err == nil || !strings.Contains(err.Error(), "no state in "+dir) {
		t.Errorf("%v", err)
	}
	for _, path := range []string{file, filepath.Join(dir, "etcd")} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}

package mounts

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhatIsMountedIsDetachedWhateverItsName(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting takes root")
	}
	dir := t.TempDir()
	data := t.TempDir()
	kept := filepath.Join(data, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "a space", "a\ttab", "a\nline", `a\040backslash`, "a#hash"} {
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(data, at, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) }) // of what a failure left, before the folders go
	}
	if err := Detach(dir); err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if IsPoint(filepath.Join(dir, e.Name())) {
			t.Errorf("%q is still mounted: to remove the folder would remove what is in it", e.Name())
		}
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

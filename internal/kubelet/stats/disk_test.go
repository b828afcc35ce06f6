package stats

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDiskCountsWhatIsWrittenAndAFileOnce(t *testing.T) {
	dir := t.TempDir()
	empty, inodes := Disk(dir)
	if inodes != 1 {
		t.Errorf("an empty directory has %d inodes", inodes)
	}
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a", "b", "file")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	// Sparse: as large as it looks, but hardly anything on the disk.
	if err := os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "sparse"), 1<<30); err != nil {
		t.Fatal(err)
	}
	bytes, inodes := Disk(dir)
	if grown := bytes - empty; grown < 1<<20 || grown > 1<<20+64<<10 {
		t.Errorf("a mebibyte takes %d bytes", grown)
	}
	if inodes != 5 {
		t.Errorf("%d inodes, want 5", inodes)
	}
	if bytes, inodes := Disk(filepath.Join(dir, "none")); bytes != 0 || inodes != 0 {
		t.Errorf("a directory that is not there: %d bytes, %d inodes", bytes, inodes)
	}
}

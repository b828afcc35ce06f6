package resident

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPagesOfFilesAreGivenBackAndAreThereAgain(t *testing.T) {
	const size = 16 << 20
	path := filepath.Join(t.TempDir(), "file")
	want := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	if !bytes.Equal(mapped, want) {
		t.Fatal("the mapping is not the file")
	}
	before := residentFiles(t)
	releaseFiles()
	if after := residentFiles(t); before-after < size*3/4 {
		t.Errorf("%d KB of files resident before, %d KB after: the mapping of %d KB is still there", before>>10, after>>10, size>>10)
	}
	if !bytes.Equal(mapped, want) {
		t.Error("the mapping is not the file any more")
	}
}

// residentFiles is RssFile of proc_pid_status(5), in bytes.
func residentFiles(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "RssFile:")
	if _, err := fmt.Sscan(rest, &n); err != nil || !ok {
		t.Fatalf("RssFile in /proc/self/status: %v", err)
	}
	return n << 10
}

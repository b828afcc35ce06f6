package logs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLookingWhetherACollectorLivesKeepsNoneFromStarting(t *testing.T) {
	dir := t.TempDir()
	if lockHeld(dir) {
		t.Error("a collector lives in a directory that never had one")
	}
	held, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !lockHeld(dir) {
		t.Error("the collector that lives is not seen")
	}
	if second, err := Lock(dir); err == nil {
		second.Close()
		t.Error("two collectors read one directory")
	}
	// What a fork has of a descriptor, another descriptor of the same open file has too.
	copied, err := unix.Dup(int(held.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	if err := unix.Flock(int(held.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	held.Close()
	if lockHeld(dir) {
		t.Error("a lock that was let go is still held by a copy of its descriptor")
	}
	after, err := Lock(dir)
	if err != nil {
		t.Fatalf("after somebody looked: %v", err)
	}
	after.Close()
	if err := os.Remove(filepath.Join(dir, lockName)); err != nil {
		t.Fatal(err)
	}
}

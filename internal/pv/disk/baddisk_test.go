package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// tmpfs is a disk of its own.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	at := t.TempDir()
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	return at
}

func TestOnADiskThatHasBecomeReadOnlyNothingIsTouchedAndItIsSaid(t *testing.T) {
	at := tmpfs(t, "size=96m")
	s, data := inUse(t, at)
	if err := copies["snapshot"].do(s); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(data, 0); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", at, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	grown := vol(s, "data")
	grown.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("64Mi")
	for what, do := range map[string]func() error{
		"use it":       func() error { _, err := s.Open(vol(s, "data")); return err },
		"make another": func() error { _, err := s.Open(vol(s, "other")); return err },
		"grow it":      func() error { _, err := s.Grow(grown); return err },
		"remove it":    func() error { return s.Remove(vol(s, "data")) },
		"forget it":    func() error { return s.Forget(vol(s, "data")) },
		"snapshot it": func() error {
			_, err := s.TakeSnapshot(t.Context(), vol(s, "data"), content("late"), false)
			return err
		},
		"clone it":         func() error { return copies["clone"].do(s) },
		"remove the other": func() error { return s.RemoveSnapshot("shop/snap-u") },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "read-only file system") {
			t.Errorf("%s: %v", what, err)
		}
	}
	remount(0)
	v := vol(s, "data")
	v.Annotations[pv.AnnMade] = "2026-01-01T00:00:00Z" // it is not made anew
	want(t, s, v, "one")
	if _, err := s.Snapshot("shop/snap-u"); err != nil {
		t.Error(err)
	}
}

func TestOnAFullDiskAVolumeIsNotMadeByHalfAndOthersKeepTheirs(t *testing.T) {
	at := tmpfs(t, "size=40m")
	s, data := inUse(t, at)
	filler, err := os.Create(filepath.Join(at, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for b := make([]byte, 4<<10); err == nil; {
		_, err = filler.Write(b)
	}
	v := vol(s, "other")
	if o, err := s.Open(v); err == nil {
		t.Errorf("%+v", o)
	}
	if exists(filepath.Join(filepath.Dir(v.Spec.Local.Path), recordFile)) {
		t.Error("half of a volume has a record")
	}
	if b, err := os.ReadFile(filepath.Join(data, "a")); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	if o, err := s.Open(v); err != nil || !o.Fresh {
		t.Errorf("with room again: %+v, %v", o, err)
	}
	remove(t, s, v)
}

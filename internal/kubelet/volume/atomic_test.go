package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func files(pairs ...string) Files {
	out := Files{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = File{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	return out
}

// visible is what a program sees in the volume that looks at plain files only.
func visible(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		top := filepath.Join(dir, e.Name())
		target, err := filepath.EvalSymlinks(top)
		if err != nil {
			t.Fatal(err)
		}
		filepath.WalkDir(target, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				out[e.Name()+strings.TrimPrefix(path, target)] = string(b)
			}
			return nil
		})
	}
	return out
}

func TestAVolumeHoldsExactlyWhatWasWrittenLast(t *testing.T) {
	dir := t.TempDir()
	for i, step := range []struct {
		files   Files
		changed bool
		want    map[string]string
	}{
		{files("a", "1", "sub/b", "2"), true, map[string]string{"a": "1", "sub/b": "2"}},
		{files("a", "1", "sub/b", "2"), false, map[string]string{"a": "1", "sub/b": "2"}},
		{files("a", "1", "sub/b", "3"), true, map[string]string{"a": "1", "sub/b": "3"}},
		{files("a", "1", "sub/c", "3"), true, map[string]string{"a": "1", "sub/c": "3"}},
		{files("c", ""), true, map[string]string{"c": ""}},
		{files(), true, map[string]string{}},
	} {
		changed, err := write(dir, step.files, nil)
		if err != nil || changed != step.changed {
			t.Fatalf("step %d: changed %v, %v; want %v", i, changed, err, step.changed)
		}
		if diff := cmp.Diff(step.want, visible(t, dir)); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "..version-*")); len(left) != 1 {
			t.Errorf("step %d: versions left: %v", i, left)
		}
	}
}

func TestAReaderNeverSeesTwoVersionsAtOnce(t *testing.T) {
	dir := t.TempDir()
	if _, err := write(dir, files("a", "0", "b", "0"), nil); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		for !stop.Load() {
			// A reader that wants both files of one version opens the directory first, as programs that use ..data do.
			version, err := os.OpenRoot(filepath.Join(dir, dataLink))
			if errors.Is(err, fs.ErrNotExist) {
				continue // replaced between reading the link and opening what it named; a reader opens again
			}
			if err != nil {
				done <- err
				return
			}
			a, errA := version.ReadFile("a")
			b, errB := version.ReadFile("b")
			version.Close()
			if errA == nil && errB == nil && string(a) != string(b) {
				done <- fmt.Errorf("saw version %s of one file and %s of the other", a, b)
				return
			}
		}
		done <- nil
	}()
	for i := range 200 {
		if _, err := write(dir, files("a", fmt.Sprint(i), "b", fmt.Sprint(i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWhatACrashLeftIsSwept(t *testing.T) {
	dir := t.TempDir()
	if _, err := write(dir, files("a", "1"), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "..version-left"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..version-left", filepath.Join(dir, dataLink+".next")); err != nil {
		t.Fatal(err)
	}
	if _, err := write(dir, files("a", "2"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "..version-left")); err == nil {
		t.Error("a version that a crash left is still there")
	}
	if diff := cmp.Diff(map[string]string{"a": "2"}, visible(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPathsThatLeadOutOfAVolumeAreRefused(t *testing.T) {
	for _, p := range []string{".", "..", "../x", "a/../../x", "/etc/passwd", "..data", "..x/y", "", "a//b", "./a"} {
		if _, err := write(t.TempDir(), files(p, "x"), nil); err == nil {
			t.Errorf("%q was written", p)
		}
	}
}

func FuzzCheckPath(f *testing.F) {
	f.Add("a/b")
	f.Add("../x")
	f.Fuzz(func(t *testing.T, p string) {
		if checkPath(p) != nil {
			return
		}
		full := filepath.Join("/volume", p)
		if !strings.HasPrefix(full, "/volume/") || full == "/volume/..data" {
			t.Errorf("%q leads to %s", p, full)
		}
	})
}

func TestModesAndGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: giving files to a group needs root")
	}
	dir := t.TempDir()
	gid := int64(2000)
	f := Files{"open": {Data: []byte("x"), Mode: 0o644}, "shut": {Data: []byte("x"), Mode: 0o400}, "own": {Data: []byte("x"), Mode: 0o600, UID: 1000}}
	if _, err := write(dir, f, &gid); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name := range f {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		uid, gid := owner(info)
		got[name] = fmt.Sprintf("%v %d:%d", info.Mode(), uid, gid)
	}
	want := map[string]string{"open": "-rw-r--r-- 0:2000", "shut": "-r--r----- 0:2000", "own": "-rw-r----- 1000:2000"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

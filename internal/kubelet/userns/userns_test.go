package userns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestWhichIDsAreForPods runs testdata/space: "decide" has the host's files (a line of dashes between them) and gives the first ranges, "take" those with some held.
func TestWhichIDsAreForPods(t *testing.T) {
	datadriven.RunTest(t, "testdata/space", func(t *testing.T, d *datadriven.TestData) string {
		var pods int
		held := 0
		d.ScanArgs(t, "pods", &pods)
		if d.HasArg("held") {
			d.ScanArgs(t, "held", &held)
		}
		subuid, subgid, _ := strings.Cut(d.Input, "---")
		s, err := Decide(subuid, subgid, pods)
		if err != nil {
			return err.Error()
		}
		taken := map[uint64]bool{}
		if held > 0 {
			taken[uint64(held)*Size] = true
		}
		var b strings.Builder
		for range 4 {
			first, ok := s.free(func(f uint64) bool { return taken[f] })
			if !ok {
				b.WriteString("no more\n")
				break
			}
			taken[first] = true
			fmt.Fprintln(&b, first)
		}
		return b.String()
	})
}

func TestAPodKeepsItsIDsUntilTheyAreGivenBack(t *testing.T) {
	dir := t.TempDir()
	pod := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(p, 0o700); err != nil {
			t.Fatal(err)
		}
		return p
	}
	space, err := Decide("kubelet:65536:196608\n", "kubelet:65536:196608\n", 3)
	if err != nil {
		t.Fatal(err)
	}
	open := func() *Ranges {
		r, err := Open(space, dir)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	take := func(r *Ranges, name string, want uint32) {
		t.Helper()
		for range 2 {
			if got, err := r.Take(pod(name)); err != nil || got != (Range{want, Size}) {
				t.Fatalf("%s has %+v, %v; want %d", name, got, err, want)
			}
		}
	}
	r := open()
	take(r, "a", 65536)
	take(r, "b", 131072)
	r = open() // another daemon
	take(r, "c", 196608)
	take(r, "b", 131072)
	if _, err := r.Take(pod("d")); err == nil || !strings.Contains(err.Error(), "/etc/subuid") {
		t.Fatalf("a fourth Pod: %v", err)
	}
	for range 2 {
		if err := r.Give(pod("a")); err != nil {
			t.Fatal(err)
		}
	}
	take(r, "d", 65536)
	// Two files that say the same, or nonsense, must not have two Pods share IDs.
	for _, text := range []string{"131072", "17", "x"} {
		if err := os.WriteFile(filepath.Join(pod("e"), rangeFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := open(); len(r.held) != 3 {
			t.Errorf("with %q, ranges are held by %v", text, r.held)
		}
	}
}

package namespaces

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestNamespacesLiveAsLongAsTheyAreHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ns")
	if Held(dir) {
		t.Error("nothing is held yet")
	}
	p := NewPool(2)
	if err := p.Hold(dir, "name"); err != nil {
		t.Fatal(err)
	}
	if !Held(dir) {
		t.Error("what was just made is not held")
	}
	if inode(t, filepath.Join(dir, Net)) == inode(t, "/proc/self/ns/net") {
		t.Error("the network namespace is this process's own")
	}
	// Sockets made inside see that namespace's interfaces, and this thread goes on in its own.
	if err := InNet(filepath.Join(dir, Net), func() error {
		l, err := net.Interfaces()
		if err == nil && len(l) != 1 {
			t.Errorf("a new network namespace has interfaces %v", l)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	name := ""
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			// On a thread that ends with this goroutine.
			return withUTS(filepath.Join(dir, UTS), func() error {
				var u unix.Utsname
				err := unix.Uname(&u)
				name = unix.ByteSliceToString(u.Nodename[:])
				return err
			})
		}()
	}()
	if err := <-done; err != nil || name != "name" {
		t.Errorf("the host name inside is %q, %v", name, err)
	}
	// A reboot leaves the files without what was mounted on them.
	if err := unix.Unmount(filepath.Join(dir, IPC), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if Held(dir) {
		t.Error("part of a set counts as held")
	}
	if err := p.Hold(dir, "again"); err != nil {
		t.Fatalf("making a set where part of one is left: %v", err)
	}
	for range 2 {
		if err := Release(dir); err != nil {
			t.Fatal(err)
		}
	}
	if Held(dir) {
		t.Error("what was let go of is still held")
	}
}

func TestAPoolThatEndsKeepsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p := NewPool(2)
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	s, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	cancel()
	<-done
	if n := len(p.ready); n > 0 {
		t.Errorf("%d sets are left", n)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); len(to) > 4 && to[:4] == "uts:" {
			t.Errorf("descriptor %s of a namespace is open", e.Name())
		}
	}
}

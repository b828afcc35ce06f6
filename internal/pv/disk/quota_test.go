package disk_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/internal/pv/disk"
	"github.com/gitopsd/gitopsd/test/vm"
)

// TestAProjectQuotaBoundsAVolume takes a kernel with quotas.
func TestAProjectQuotaBoundsAVolume(t *testing.T) {
	if !vm.Only(t, vm.Machine{Modules: []string{"ext4", "quota_v2", "xfs", "loop"}, Programs: []string{"mkfs.ext4", "mkfs.xfs"}, Disk: 1 << 30}) {
		return
	}
	for _, kind := range []struct{ name, mkfs string }{{"ext4", "mkfs.ext4 -q -F -O quota,project /dev/vda"}, {"xfs", "mkfs.xfs -q -f /dev/vda"}} {
		t.Run(kind.name, func(t *testing.T) {
			args := strings.Fields(kind.mkfs)
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", kind.mkfs, err, out)
			}
			at := t.TempDir()
			mount := func(options string) {
				t.Helper()
				if err := unix.Mount("/dev/vda", at, kind.name, 0, options); err != nil {
					t.Fatal(err)
				}
			}
			unmount := func() {
				t.Helper()
				if err := unix.Unmount(at, 0); err != nil {
					t.Fatal(err)
				}
			}
			mount("prjquota")
			defer unmount()
			s := &disk.Store{Dir: filepath.Join(at, "volumes")}
			if err := os.Mkdir(s.Dir, 0o711); err != nil {
				t.Fatal(err)
			}
			room := roomOf(t, s)
			v, other := quotaVolume(s, "data-1", "64Mi"), quotaVolume(s, "data-2", "64Mi")
			for _, v := range []*corev1.PersistentVolume{v, other} {
				if o, err := s.Open(v); err != nil || !o.Bound || !o.Fresh || o.Unbound() != "" || o.Slower() != "" {
					t.Fatalf("it was opened as %+v: %v", o, err)
				}
			}
			file := func(v *corev1.PersistentVolume, name string) string { return filepath.Join(v.Spec.Local.Path, name) }
			if _, err := os.Stat(filepath.Join(filepath.Dir(v.Spec.Local.Path), "disk.img")); err == nil {
				t.Error("it has an image")
			}
			if err := asPod(func() error { return write(file(v, "a"), 40) }); err != nil {
				t.Errorf("40 of 64 MiB: %v", err)
			}
			if err := asPod(func() error { return write(file(v, "b"), 40) }); !full(err) {
				t.Errorf("80 of 64 MiB: %v", err)
			}
			if err := asPod(func() error { return write(file(other, "a"), 40) }); err != nil {
				t.Errorf("40 of 64 MiB of another volume: %v", err)
			}
			var st unix.Statfs_t
			if err := unix.Statfs(v.Spec.Local.Path, &st); err != nil || int64(st.Blocks)*st.Bsize != 64<<20 {
				t.Errorf("its size is said to be %d (%v)", int64(st.Blocks)*st.Bsize, err)
			}
			if now := roomOf(t, s); now < room-8<<20 || now > room+8<<20 {
				t.Errorf("room for volumes of %d bytes altogether, and of %d with two in use: what they take is theirs", room, now)
			}

			v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("128Mi")
			if grew, err := s.Grow(v); !grew || err != nil {
				t.Errorf("it grew: %v, %v", grew, err)
			}
			if grew, err := s.Grow(v); grew || err != nil {
				t.Errorf("it grew twice: %v, %v", grew, err)
			}
			if err := asPod(func() error { return write(file(v, "b"), 40) }); err != nil {
				t.Errorf("80 of 128 MiB: %v", err)
			}

			unmount()
			mount("")
			if o, err := s.Open(v); err != nil || o.Bound || o.Fresh || !strings.Contains(o.Unbound(), "mount the file system of") {
				t.Errorf("without quotas it was opened as %+v: %v", o, err)
			}
			if o, err := s.Open(quotaVolume(s, "data-3", "64Mi")); err != nil || !o.Bound || !strings.Contains(o.Slower(), "prjquota") {
				t.Errorf("one made without quotas is %+v: %v", o, err)
			}
			if err := s.Remove(quotaVolume(s, "data-3", "64Mi")); err != nil {
				t.Error(err)
			}
			unmount()
			mount("prjquota")
			if o, err := s.Open(v); err != nil || !o.Bound || o.Unbound() != "" {
				t.Errorf("with quotas again it was opened as %+v: %v", o, err)
			}
			// All of a data directory may be of a project: what is made below is of that too, but the quota is somebody else's.
			below := &disk.Store{Dir: filepath.Join(other.Spec.Local.Path, "volumes")}
			if err := os.Mkdir(below.Dir, 0o711); err != nil {
				t.Fatal(err)
			}
			inner := quotaVolume(below, "data-1", "8Mi")
			if o, err := below.Open(inner); err != nil || !o.Bound {
				t.Errorf("below a project it was opened as %+v: %v", o, err)
			}
			if err := asPod(func() error { return write(file(inner, "a"), 10) }); !full(err) {
				t.Errorf("10 of 8 MiB, below a project: %v", err)
			}
			if err := asPod(func() error { return write(file(other, "b"), 10) }); err != nil {
				t.Errorf("50 of the 64 MiB of a project, below which a volume was made: %v", err)
			}
			if err := below.Remove(inner); err != nil {
				t.Error(err)
			}
			if err := asPod(func() error { return write(file(other, "c"), 40) }); !full(err) {
				t.Errorf("90 of the 64 MiB of a project, below which a volume was removed: %v", err)
			}

			for _, v := range []*corev1.PersistentVolume{v, other} {
				if err := s.Remove(v); err != nil {
					t.Error(err)
				}
			}
			// A volume in the place of one that is gone is not bounded by what that one was.
			v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("32Mi")
			if _, err := s.Open(v); err != nil {
				t.Fatal(err)
			}
			if err := asPod(func() error { return write(file(v, "a"), 40) }); !full(err) {
				t.Errorf("40 of 32 MiB: %v", err)
			}
		})
	}
}

func full(err error) bool { return errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.ENOSPC) }

func quotaVolume(s *disk.Store, name, size string) *corev1.PersistentVolume {
	v := local(s, size)
	v.Annotations[pv.AnnBound] = pv.BoundByQuota
	v.Spec.Local.Path = filepath.Join(s.Dir, "shop", name, pv.DataDir)
	return v
}

func roomOf(t *testing.T, s *disk.Store) int64 {
	t.Helper()
	unix.Sync()
	room, err := s.Room()
	if err != nil {
		t.Fatal(err)
	}
	return room.Bytes
}

// asPod does something without CAP_SYS_RESOURCE, as containers are that are not privileged: ext4 heeds no quota of who has it.
func asPod(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and ended with the goroutine
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&head, &data[0])
		data[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
		if err == nil {
			err = unix.Capset(&head, &data[0])
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

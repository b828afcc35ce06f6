package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/test/netns"
	"github.com/gitopsd/gitopsd/test/vm"
)

// Environment of a process that dies at a step: the step, the directory of the store, and what is copied.
const (
	dieAt   = "DISK_TEST_DIE_AT"
	dieIn   = "DISK_TEST_DIE_IN"
	dieDoes = "DISK_TEST_DIE_DOES"
)

// TestMain is also the process that dies. The mounts of the tests are in a namespace of their own: who makes a mount namespace elsewhere on the host meanwhile, as every
// container does, would get copies of them, by which a volume that was unmounted is still in use.
func TestMain(m *testing.M) {
	vm.Main(m)
	at := os.Getenv(dieAt)
	if at == "" {
		netns.Main(m)
	}
	reached = func(step string) {
		if step == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	s := &Store{Dir: os.Getenv(dieIn)}
	err := copies[os.Getenv(dieDoes)].do(s)
	fmt.Fprintf(os.Stderr, "step %s was not reached: %v\n", at, err)
	os.Exit(3)
}

// steps are those of a copy without shared blocks.
var steps = []string{"begun", "still", "part", "copied", "renamed", "recorded"}

// copies are the three ways to a copy: what each does, and where its record is.
var copies = map[string]struct {
	do     func(*Store) error
	record func(*Store) string
}{
	"snapshot": {func(s *Store) error {
		_, err := s.TakeSnapshot(context.Background(), vol(s, "data"), content("snap"), true)
		return err
	}, func(s *Store) string { return filepath.Join(s.Dir, "shop/snap-u/snapshot.json") }},
	"clone": {func(s *Store) error {
		return s.Fill(context.Background(), filled1(s, pv.Source{Volume: "pvc-data"}), vol(s, "data"), true)
	}, func(s *Store) string { return filepath.Join(s.Dir, "shop/copy-1/volume.json") }},
	"restore": {func(s *Store) error {
		return s.Fill(context.Background(), filled1(s, pv.Source{Snapshot: "shop/before-u"}), nil, false)
	}, func(s *Store) string { return filepath.Join(s.Dir, "shop/copy-1/volume.json") }},
}

func vol(s *Store, name string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + name, Labels: map[string]string{pv.NodeLabel: "n1"}, Annotations: map[string]string{volume.AnnDynamicallyProvisioned: pv.Provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("32Mi")},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: filepath.Join(s.Dir, "shop", name+"-1", pv.DataDir)}},
		},
	}
}

func filled1(s *Store, from pv.Source) *corev1.PersistentVolume {
	v := vol(s, "copy")
	v.Annotations[pv.AnnSource] = fmt.Sprintf(`{"volume":%q,"snapshot":%q}`, from.Volume, from.Snapshot)
	return v
}

func content(name string) *snapshotv1.VolumeSnapshotContent {
	return &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: "snapcontent-" + name, Labels: map[string]string{pv.NodeLabel: "n1"}},
		Spec: snapshotv1.VolumeSnapshotContentSpec{Driver: pv.Provisioner, VolumeSnapshotRef: corev1.ObjectReference{Namespace: "shop", Name: name, UID: "u"},
			Source: snapshotv1.VolumeSnapshotContentSource{VolumeHandle: ptr.To("pvc-data")}},
	}
}

// inUse makes a store in a directory, with a volume that is mounted and a file in it that is written but not flushed.
func inUse(t *testing.T, dir string) (*Store, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	if !exists("/dev/loop-control") {
		t.Skip("no loop devices here")
	}
	s := &Store{Dir: dir}
	v := vol(s, "data")
	o, err := s.Open(v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, s, v) })
	put(t, o.Path, "a", "one")
	return s, o.Path
}

func remove(t *testing.T, s *Store, v *corev1.PersistentVolume) {
	t.Helper()
	if err := s.Remove(v); err != nil {
		t.Error(err)
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// want opens a copy and compares a file of it.
func want(t *testing.T, s *Store, v *corev1.PersistentVolume, text string) {
	t.Helper()
	o, err := s.Open(v)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(o.Path, "a")); err != nil || string(b) != text || o.Fresh {
		t.Errorf("the copy has %q, %v, want %q: %+v", b, err, text, o)
	}
}

func TestASnapshotIsWhatTheVolumeWasAndACloneIsWritable(t *testing.T) {
	for _, on := range []string{"this disk", "xfs"} {
		t.Run(on, func(t *testing.T) {
			dir := t.TempDir()
			if on == "xfs" {
				dir = xfs(t)
			}
			s, at := inUse(t, dir)
			if err := copies["snapshot"].do(s); err != nil {
				t.Fatal(err)
			}
			put(t, at, "a", "two")
			big := filled1(s, pv.Source{Snapshot: "shop/snap-u"})
			big.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("64Mi")
			if _, err := s.Open(big); err == nil {
				t.Fatal("a volume was opened that is not filled yet")
			}
			if err := s.Fill(t.Context(), big, nil, false); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { remove(t, s, big) })
			want(t, s, big, "one")
			put(t, filepath.Dir(big.Spec.Local.Path)+"/data", "a", "three")
			if err := write40(filepath.Join(big.Spec.Local.Path, "b")); err != nil {
				t.Errorf("40 MiB do not fit into the copy, which is of 64: %v", err)
			}
			if b, err := os.ReadFile(filepath.Join(at, "a")); string(b) != "two" {
				t.Errorf("the source has %q, %v", b, err)
			}
			list, err := s.Snapshots()
			if err != nil || len(list) != 1 || *list[0].Status.RestoreSize != 32<<20 {
				t.Errorf("listed %+v, %v", list, err)
			}
			if err := s.RemoveSnapshot("shop/snap-u"); err != nil {
				t.Error(err)
			}
			if _, err := s.Snapshot("shop/snap-u"); !errors.Is(err, ErrGone) {
				t.Errorf("a removed snapshot gives %v", err)
			}
			want(t, s, big, "three")
		})
	}
}

func write40(path string) error { return os.WriteFile(path, make([]byte, 40<<20), 0o644) }

// xfs is a directory on a file system that can share blocks.
func xfs(t *testing.T) string {
	t.Helper()
	mkfs, err := find("mkfs.xfs")
	if err != nil || os.Getuid() != 0 {
		t.Skip("SKIPPED: it takes root and mkfs.xfs (package xfsprogs)")
	}
	img, at := filepath.Join(t.TempDir(), "xfs.img"), t.TempDir()
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 1<<30); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", "-m", "reflink=1", img).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	device, err := attach(img, true)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if err := unix.Mount(device.Name(), at, "xfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	return at
}

func TestOnAFileSystemThatCanASnapshotTakesNoRoom(t *testing.T) {
	dir := xfs(t)
	s, at := inUse(t, dir)
	if err := os.WriteFile(filepath.Join(at, "big"), []byte(strings.Repeat("x", 16<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	free := func() int64 {
		var st unix.Statfs_t
		unix.Sync()
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		return int64(st.Bfree) * st.Bsize
	}
	before := free()
	if err := copies["snapshot"].do(s); err != nil {
		t.Fatal(err)
	}
	// Flushing what was written takes the 16 MiB of the file itself.
	if took := before - free(); took > 24<<20 {
		t.Errorf("it took %d bytes", took)
	}
	if s.Used(vol(s, "data")) < 16<<20 {
		t.Error("the file had not been flushed")
	}
}

func TestACopyThatIsKilledAtAnyStepIsNoneAndTheNextIsWhole(t *testing.T) {
	for name, c := range copies {
		for _, step := range steps {
			t.Run(name+" at "+step, func(t *testing.T) {
				s, at := inUse(t, t.TempDir())
				if name == "restore" {
					if _, err := s.TakeSnapshot(t.Context(), vol(s, "data"), content("before"), true); err != nil {
						t.Fatal(err)
					}
				}
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), dieAt+"="+step, dieIn+"="+s.Dir, dieDoes+"="+name)
				if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("%v: %s", err, out)
				}
				after := &Store{Dir: s.Dir} // of the next life
				if err := after.Thaw(); err != nil {
					t.Fatal(err)
				}
				wrote := make(chan error, 1)
				go func() { wrote <- os.WriteFile(filepath.Join(at, "b"), []byte("on"), 0o644) }()
				select {
				case err := <-wrote:
					if err != nil {
						t.Fatal(err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("writes to the source still wait")
				}
				if whole := step == "recorded"; exists(c.record(s)) != whole {
					t.Errorf("it is recorded: %v", !whole)
				}
				if step != "recorded" && name != "snapshot" {
					if _, err := after.Open(filled1(s, pv.Source{Volume: "pvc-data"})); err == nil {
						t.Error("half of a volume was opened")
					}
				}
				if err := c.do(after); err != nil {
					t.Fatal(err)
				}
				v := filled1(s, pv.Source{Snapshot: "shop/snap-u"})
				if name == "snapshot" {
					if err := after.Fill(t.Context(), v, nil, false); err != nil {
						t.Fatal(err)
					}
				}
				t.Cleanup(func() { remove(t, after, v) })
				want(t, after, v, "one")
			})
		}
	}
}

func TestACopyThatDoesNotFitLeavesNothing(t *testing.T) {
	small := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=48m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(small, 0) })
	s, at := inUse(t, small)
	if err := os.WriteFile(filepath.Join(at, "big"), []byte(strings.Repeat("x", 24<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := copies["snapshot"].do(s); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a snapshot of 24 MiB on 48: %v", err)
	}
	if exists(filepath.Join(small, "shop/snap-u/snapshot.img.new")) {
		t.Error("half of it was left")
	}
	put(t, at, "a", "on")
}

func TestADirectoryHasNoSnapshotAndABlockVolumeInUseOnlyWithSharedBlocks(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	v := vol(s, "data")
	dir := filepath.Join(s.Dir, "shop", "data-1")
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeRecord(dir, v); err != nil {
		t.Fatal(err)
	}
	if err := copies["snapshot"].do(s); err == nil || !strings.Contains(err.Error(), "plain directory") {
		t.Errorf("of a plain directory: %v", err)
	}
	if os.Getuid() != 0 || !exists("/dev/loop-control") {
		t.Skip("the rest takes root and loop devices")
	}
	for on, dir := range map[string]string{"this disk": t.TempDir(), "xfs": xfs(t)} {
		s := &Store{Dir: dir}
		v := vol(s, "data")
		v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
		o, err := s.Open(v)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, s, v) })
		if err := os.WriteFile(o.Path, []byte("raw"), 0); err != nil {
			t.Fatal(err)
		}
		_, err = s.TakeSnapshot(t.Context(), v, content("snap"), true)
		if shares := on == "xfs"; shares != (err == nil) || !shares && !errors.Is(err, ErrInUse) {
			t.Errorf("%s: in use: %v", on, err)
		}
		if _, err := s.TakeSnapshot(t.Context(), v, content("snap"), false); err != nil {
			t.Errorf("%s: not in use: %v", on, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "shop/snap-u/snapshot.img")); err != nil || string(b[:3]) != "raw" {
			t.Errorf("%s: %v, %q", on, err, b[:3])
		}
	}
}

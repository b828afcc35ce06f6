package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/internal/pv/disk"
)

func store(t *testing.T) *disk.Store {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("no loop devices here")
	}
	return &disk.Store{Dir: t.TempDir()}
}

func local(s *disk.Store, size string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Labels: map[string]string{pv.NodeLabel: "n1"}, Annotations: map[string]string{volume.AnnDynamicallyProvisioned: pv.Provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: filepath.Join(s.Dir, "shop", "data-1", pv.DataDir)}},
		},
	}
}

func open(t *testing.T, s *disk.Store, v *corev1.PersistentVolume) disk.Opened {
	t.Helper()
	o, err := s.Open(v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(v); err != nil {
			t.Error(err)
		}
	})
	return o
}

// write writes megabytes to a file and says how that ended.
func write(path string, megabytes int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for range megabytes {
		if _, err := f.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
			return err
		}
	}
	return f.Sync()
}

func TestAVolumeIsAsLargeAsItSaysAndGrowsInUse(t *testing.T) {
	s := store(t)
	v := local(s, "32Mi")
	o := open(t, s, v)
	if !o.Fresh || !o.Bound || o.Path != v.Spec.Local.Path {
		t.Fatalf("%+v", o)
	}
	if err := write(filepath.Join(o.Path, "a"), 40); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("40 MiB were written to a volume of 32: %v", err)
	}
	if grew, err := s.Grow(v); grew || err != nil {
		t.Errorf("grew %v, %v although it is as large as it says", grew, err)
	}
	v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("64Mi")
	inUse, err := os.Open(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	grew, err := s.Grow(v)
	inUse.Close()
	if err != nil { // without CAP_SYS_RESOURCE, which containers lack, it has to wait
		if !strings.Contains(err.Error(), "CAP_SYS_RESOURCE") {
			t.Fatal(err)
		}
		grew, err = s.Grow(v)
	}
	if !grew || err != nil {
		t.Fatalf("grew %v, %v", grew, err)
	}
	if err := write(filepath.Join(o.Path, "a"), 40); err != nil {
		t.Errorf("40 MiB do not fit into a volume that has grown to 64: %v", err)
	}
	if again, err := s.Open(v); err != nil || again.Fresh {
		t.Errorf("opened again: %+v, %v", again, err)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].Name != v.Name || list[0].Spec.Capacity.Storage().String() != "64Mi" {
		t.Errorf("listed: %v, %v", list, err)
	}
}

func TestAVolumeThatGrewUnmountedIsLargeOnceItIsMounted(t *testing.T) {
	s := store(t)
	v := local(s, "32Mi")
	o := open(t, s, v)
	if err := unix.Unmount(o.Path, 0); err != nil {
		t.Fatal(err)
	}
	v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("64Mi")
	if grew, err := s.Grow(v); !grew || err != nil {
		t.Fatalf("grew %v, %v", grew, err)
	}
	if _, err := s.Open(v); err != nil {
		t.Fatal(err)
	}
	if err := write(filepath.Join(o.Path, "a"), 40); err != nil {
		t.Error(err)
	}
}

func TestWhatIsGoneIsNotMadeAnew(t *testing.T) {
	s := store(t)
	for _, lost := range []string{"", "disk.img", "volume.json"} {
		t.Run("lost "+lost, func(t *testing.T) {
			v := local(s, "8Mi")
			o := open(t, s, v)
			v.Annotations[pv.AnnMade] = "2026-01-01T00:00:00Z"
			if err := unix.Unmount(o.Path, 0); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Dir(o.Path)
			if err := os.RemoveAll(filepath.Join(dir, lost)); err != nil {
				t.Fatal(err)
			}
			os.Remove(o.Path)
			before := names(t, s.Dir)
			if _, err := s.Open(v); !errors.Is(err, disk.ErrGone) {
				t.Errorf("opened with %v, want %v", err, disk.ErrGone)
			}
			if after := names(t, s.Dir); after != before {
				t.Errorf("files before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		fmt.Fprintln(&out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWhatACrashLeftIsCompleted(t *testing.T) {
	s := store(t)
	v := local(s, "8Mi")
	dir := filepath.Dir(v.Spec.Local.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "disk.img.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := open(t, s, v); !o.Fresh || !o.Bound {
		t.Errorf("%+v", o)
	}
}

func TestAVolumeOfAnotherDirectoryIsLeftAlone(t *testing.T) {
	s := store(t)
	v := local(s, "8Mi")
	for _, path := range []string{"/etc/data", s.Dir + "/data", s.Dir + "/../x/y/data", s.Dir + "/a/b/c/data", s.Dir + "/shop/data-1"} {
		v.Spec.Local.Path = path
		if _, err := s.Open(v); err == nil {
			t.Errorf("%s was opened", path)
		}
		if err := s.Remove(v); err == nil {
			t.Errorf("%s was removed", path)
		}
	}
}

func TestABlockVolumeIsADevice(t *testing.T) {
	s := store(t)
	v := local(s, "8Mi")
	v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	o := open(t, s, v)
	f, err := os.OpenFile(o.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if end, err := f.Seek(0, 2); err != nil || end != 8<<20 {
		t.Errorf("%s ends at %d, %v", o.Path, end, err)
	}
	if again, err := s.Open(v); err != nil || again.Path != o.Path {
		t.Errorf("opened again: %+v, %v, want %s", again, err, o.Path)
	}
	f.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(filepath.Dir(v.Spec.Local.Path), "disk.img")
	if b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(o.Path), "loop", "backing_file")); err == nil && strings.TrimSpace(string(b)) == img {
		t.Errorf("%s still has %s", o.Path, img)
	}
	if _, err := os.Stat(img); err != nil {
		t.Error(err)
	}
}

func TestAForgottenVolumeKeepsItsData(t *testing.T) {
	s := store(t)
	v := local(s, "8Mi")
	o := open(t, s, v)
	if err := write(filepath.Join(o.Path, "a"), 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(v); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(o.Path, "a")); err != nil {
		t.Error(err)
	}
}

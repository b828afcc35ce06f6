package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/gitopsd/gitopsd/internal/kubelet/csi"
	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/iscsi"
	"github.com/gitopsd/gitopsd/internal/kubelet/mounts"
	"github.com/gitopsd/gitopsd/internal/pv"
)

// Volume is one that was set up.
type Volume struct {
	Path string // on the node
	// ReadOnly says that containers must not write to it whatever they ask for: its content comes from the API.
	ReadOnly bool
	// FromImage says that it is an image's content (see image.Store.MakeVolume): it is there once a container that mounts it is created.
	FromImage bool
	// Block says that Path is a device, for containers' volumeDevices.
	Block bool
	Claim string // that it is of, in the Pod's namespace; empty for other volumes
	// Driver says that a storage driver has mounted it: how full it is, only that is asked.
	Driver bool
}

// Error says which volume failed; its text is what the Pod's FailedMount event says.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}
func (e *Error) Unwrap() error { return e.Err }

// Setup makes the Pod's volumes in dir, or brings them up to date. It may be repeated. Image volumes are not among them.
func Setup(ctx context.Context, dir string, pod *v1.Pod, facts env.Facts, src Source) (map[string]Volume, error) {
	out := make(map[string]Volume, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Image != nil {
			continue
		}
		made, err := setup(ctx, filepath.Join(dir, v.Name), pod, v, facts, src)
		if err != nil {
			return nil, &Error{Volume: v.Name, Err: err}
		}
		out[v.Name] = made
	}
	return out, nil
}

func setup(ctx context.Context, path string, pod *v1.Pod, v *v1.Volume, facts env.Facts, src Source) (Volume, error) {
	var gid *int64
	if sc := pod.Spec.SecurityContext; sc != nil {
		gid = sc.FSGroup
	}
	switch {
	case v.EmptyDir != nil:
		return Volume{Path: path}, emptyDir(path, pod, v.EmptyDir, gid)
	case v.HostPath != nil:
		return Volume{Path: v.HostPath.Path}, hostPath(v.HostPath)
	case v.NFS != nil:
		return Volume{Path: path, ReadOnly: v.NFS.ReadOnly}, nfs(ctx, path, v.NFS, nil)
	case v.ISCSI != nil:
		return ofPod(pod, v.ISCSI).setup(ctx, path, pod, src)
	case v.CSI != nil:
		return driven(ctx, csi.Volume{Pod: pod, Name: v.Name, Inline: v.CSI}, src)
	case pv.ClaimOf(pod, v) != "":
		return persistent(ctx, path, pod, v, src)
	}
	had := func(name string) []byte {
		b, _ := os.ReadFile(filepath.Join(path, name))
		return b
	}
	files, err := content(ctx, pod, v, facts, src, time.Now(), had)
	if err != nil {
		if src.Away(err) && exists(filepath.Join(path, dataLink)) {
			return Volume{Path: path, ReadOnly: true}, nil // what it held last is better than a Pod that cannot restart while the API is away
		}
		return Volume{}, err
	}
	if files == nil {
		return Volume{}, fmt.Errorf("its kind is not provided by this node; use one of configMap, secret, downwardAPI, projected, emptyDir, hostPath, nfs, iscsi, csi, image, or a claim")
	}
	// All of it is kept in memory: Secrets and tokens must not reach the disk, and the rest is small.
	if err := tmpfs(path, "mode=0755"); err != nil {
		return Volume{}, err
	}
	if _, err := write(path, files, gid); err != nil {
		return Volume{}, err
	}
	return Volume{Path: path, ReadOnly: true}, nil
}

func emptyDir(path string, pod *v1.Pod, e *v1.EmptyDirVolumeSource, gid *int64) error {
	fresh := !exists(path)
	switch e.Medium {
	case v1.StorageMediumDefault:
		if err := os.MkdirAll(path, 0o777); err != nil {
			return err
		}
	case v1.StorageMediumMemory:
		fresh = fresh || !isMount(path)
		opts := "mode=0777"
		if limit := memoryLimit(pod, e); limit > 0 {
			opts += fmt.Sprintf(",size=%d", limit)
		}
		if err := tmpfs(path, opts); err != nil {
			return err
		}
	default:
		size, err := hugePageSize(pod, e.Medium)
		if err != nil {
			return err
		}
		fresh = fresh || !isMount(path)
		if err := mountNew(path, "hugetlbfs", fmt.Sprintf("mode=0777,pagesize=%d", size)); err != nil {
			return err
		}
	}
	if !fresh {
		return nil
	}
	if err := os.Chmod(path, 0o777); err != nil { // the umask does not apply to it
		return err
	}
	if gid != nil {
		return setGroup(path, *gid, false)
	}
	return nil
}

// hugePageSize is the size of the pages that an emptyDir's medium names, HugePages-2Mi, or, for HugePages alone, that of the only ones that the Pod requests.
func hugePageSize(pod *v1.Pod, medium v1.StorageMedium) (int64, error) {
	if text, ok := strings.CutPrefix(string(medium), string(v1.StorageMediumHugePagesPrefix)); ok {
		q, err := resource.ParseQuantity(text)
		if err != nil {
			return 0, fmt.Errorf("emptyDir of medium %q: %q is no size of pages; use one like HugePages-2Mi", medium, text)
		}
		return q.Value(), nil
	}
	if medium != v1.StorageMediumHugePages {
		return 0, fmt.Errorf("emptyDir of medium %q is not provided by this node; use \"\", \"Memory\" or \"HugePages\"", medium)
	}
	sizes := map[string]bool{}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for name := range list[i].Resources.Requests {
				if text, ok := strings.CutPrefix(string(name), v1.ResourceHugePagesPrefix); ok {
					sizes[text] = true
				}
			}
		}
	}
	if len(sizes) != 1 {
		return 0, fmt.Errorf("emptyDir of medium %q: the Pod requests huge pages of %d sizes, so that it is not clear which it is to have; name it, as in HugePages-2Mi", medium, len(sizes))
	}
	for text := range sizes {
		return hugePageSize(pod, v1.StorageMediumHugePagesPrefix+v1.StorageMedium(text))
	}
	return 0, nil // not reached: there is one
}

// memoryLimit of a memory-backed emptyDir: its own, or what the Pod's containers may use, whichever is less.
func memoryLimit(pod *v1.Pod, e *v1.EmptyDirVolumeSource) int64 {
	own := int64(0)
	if e.SizeLimit != nil {
		own = e.SizeLimit.Value()
	}
	sum := int64(0)
	for i := range pod.Spec.Containers {
		l := pod.Spec.Containers[i].Resources.Limits.Memory().Value()
		if l == 0 {
			return own
		}
		sum += l
	}
	if own == 0 || sum < own {
		return sum
	}
	return own
}

// typeOf names what is at a path as a hostPath's types do.
func typeOf(m fs.FileMode) v1.HostPathType {
	switch {
	case m.IsDir():
		return v1.HostPathDirectory
	case m.IsRegular():
		return v1.HostPathFile
	case m&fs.ModeSocket != 0:
		return v1.HostPathSocket
	case m&fs.ModeCharDevice != 0:
		return v1.HostPathCharDev
	case m&fs.ModeDevice != 0:
		return v1.HostPathBlockDev
	}
	return v1.HostPathType(m.Type().String()) // a pipe
}

func hostPath(h *v1.HostPathVolumeSource) error {
	want := v1.HostPathUnset
	if h.Type != nil {
		want = *h.Type
	}
	switch want {
	case v1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(h.Path, 0o755); err != nil {
			return err
		}
	case v1.HostPathFileOrCreate:
		f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	info, err := os.Stat(h.Path)
	if errors.Is(err, fs.ErrNotExist) && want == v1.HostPathUnset {
		return os.MkdirAll(h.Path, 0o755) // as runtimes have always done when nothing is asked to be checked
	}
	if err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	is, ok := typeOf(info.Mode()), true
	switch want {
	case v1.HostPathDirectoryOrCreate:
		ok = is == v1.HostPathDirectory
	case v1.HostPathFileOrCreate:
		ok = is == v1.HostPathFile
	case v1.HostPathUnset:
	default:
		ok = is == want
	}
	if !ok {
		return fmt.Errorf("hostPath type check failed: %s is no %s but a %s", h.Path, want, is)
	}
	return nil
}

// Teardown removes every volume in dir, and dir. Host paths are not in it. It may be repeated.
func Teardown(dir string) error {
	// Not only volumes of memory: what a container mounted in a volume that it shares with the host is the host's, and its content somebody else's.
	if err := mounts.Detach(dir); err != nil {
		return err
	}
	if err := iscsi.Disconnect(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// tmpfs mounts a memory file system at path unless there is one.
func tmpfs(path, opts string) error { return mountNew(path, "tmpfs", opts) }

// mountNew mounts a file system that the kernel makes at path unless there is one.
func mountNew(path, kind, opts string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if isMount(path) {
		return nil
	}
	if err := unix.Mount(kind, path, kind, unix.MS_NODEV|unix.MS_NOSUID, opts); err != nil {
		return fmt.Errorf("mounting a %s at %s: %w", kind, path, err)
	}
	return nil
}

// isMount says whether path is a mount point, by being on another device than its parent.
func isMount(path string) bool {
	var self, parent unix.Stat_t
	return unix.Lstat(path, &self) == nil && unix.Lstat(filepath.Dir(path), &parent) == nil && self.Dev != parent.Dev
}

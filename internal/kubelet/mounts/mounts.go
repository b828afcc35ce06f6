package mounts

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// IsPoint says whether something is mounted at a path itself, be it a part of the same file system.
func IsPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// sharing is held while a folder is shared: the containers of a Pod are made side by side, and are to find one mount.
var sharing sync.Mutex

// Share has what containers mount below a folder be seen by the host and by other containers, if they ask for that (mountPropagation). Where the host shares its
// mounts, as under systemd, there is nothing to do.
func Share(dir string) error {
	sharing.Lock()
	defer sharing.Unlock()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	in, err := Of(dir)
	if err != nil || in.Shared {
		return err
	}
	if !IsPoint(dir) {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("making %s a mount of its own, which containers can share: %w", dir, err)
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("sharing the mounts below %s with containers: %w", dir, err)
	}
	return nil
}

// Detach unmounts whatever is mounted below a folder, whoever did it, so that to remove the folder removes nothing of what was mounted.
func Detach(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := Points()
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(all) {
		if p.Path == dir || !Within(dir, p.Path) {
			continue
		}
		if err := unix.Unmount(p.Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return fmt.Errorf("unmounting %s: %w", p.Path, err)
		}
	}
	return nil
}

// Point is where something is mounted: a line of proc_pid_mountinfo(5).
type Point struct {
	Path string
	// Shared says that what is mounted in it is seen wherever else it is mounted, and the other way round; Receives, that it sees only what others mount (MS_SLAVE).
	Shared, Receives bool
}

// Points are all there are, those that hide others last.
func Points() ([]Point, error) {
	all, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("what is mounted: %w", err)
	}
	out := make([]Point, len(all))
	for i, m := range all {
		out[i] = Point{Path: m.Mountpoint}
		for _, tag := range strings.Fields(m.Optional) {
			out[i].Shared = out[i].Shared || strings.HasPrefix(tag, "shared:")
			out[i].Receives = out[i].Receives || strings.HasPrefix(tag, "master:")
		}
	}
	return out, nil
}

// Of is the mount that a file or directory is in.
func Of(path string) (Point, error) {
	in := Point{}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return in, err
	}
	all, err := Points()
	for _, m := range all {
		if Within(m.Path, path) && len(m.Path) >= len(in.Path) {
			in = m // of several at one place the last is on top
		}
	}
	return in, err
}

// Within says whether a path is a directory or something in it.
func Within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
)

// mapRoot mounts a container's file system so that its files are owned by the Pod's own IDs, below a directory of the node's, and gives what containerd is to mount
// instead. The layers of the image are shown through mounts that map IDs, so nothing is copied; what the container writes goes to its own layer under the
// IDs that it has. Daemons before 2.0 cannot do that themselves.
func (r *Runtime) mapRoot(id string, mounts []mount.Mount, ids userns.Range) ([]mount.Mount, error) {
	if err := r.unmapRoot(id); err != nil {
		return nil, err
	}
	dir := filepath.Join(r.roots, id)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	mapped := make([]mount.Mount, len(mounts))
	for i, m := range mounts {
		m.Options = slices.Concat(m.Options, ids.MountOptions())
		mapped[i] = m
		for _, o := range m.Options {
			if upper, ok := strings.CutPrefix(o, "upperdir="); ok {
				// The topmost directory is there already, with the image's owner. It is not mapped, and so must have the ID that is meant.
				if err := shift(upper, ids); err != nil {
					return nil, err
				}
			}
		}
	}
	if err := mount.All(mapped, dir); err != nil {
		return nil, fmt.Errorf("mounting its file system for the user IDs from %d on: %w; hostUsers: false takes Linux 6.3 and a file system for images that can map IDs, such as ext4 or xfs", ids.First, err)
	}
	return []mount.Mount{{Type: "bind", Source: dir, Options: []string{"rbind", "rw"}}}, nil
}

// shift gives a directory to whom the Pod's IDs say; one that has been given is left alone.
func shift(dir string, ids userns.Range) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	if st.Uid >= ids.Size && st.Gid >= ids.Size {
		return nil
	}
	if err := unix.Lchown(dir, int(ids.First+st.Uid), int(ids.First+st.Gid)); err != nil {
		return fmt.Errorf("giving %s to the Pod's root: %w", dir, err)
	}
	return nil
}

// unmapRoot undoes mapRoot. It may be repeated.
func (r *Runtime) unmapRoot(id string) error {
	dir := filepath.Join(r.roots, id)
	if err := mount.UnmountAll(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmounting the file system of container %s: %w", id, err)
	}
	// Not with what it holds: were something still mounted, it would be emptied.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

package csi

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// isMountPoint says whether something is mounted at a path itself, be it a part of the same file system.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// share has what drivers in containers mount below a folder be seen by the host, and by the containers that use it. Where the host shares its mounts, as under systemd,
// there is nothing to do.
func share(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	shared, err := isShared(dir)
	if err != nil || shared {
		return err
	}
	if !isMountPoint(dir) {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("making %s a mount of its own, for drivers in containers: %w", dir, err)
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("sharing the mounts below %s, for drivers in containers: %w", dir, err)
	}
	return nil
}

// mountPoint is a line of /proc/self/mountinfo: proc_pid_mountinfo(5).
type mountPoint struct {
	path   string
	shared bool
}

func mountPoints() ([]mountPoint, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []mountPoint
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 7 {
			continue
		}
		m := mountPoint{path: strings.ReplaceAll(f[4], `\040`, " ")}
		for _, tag := range f[6:] {
			if tag == "-" {
				break
			}
			m.shared = m.shared || strings.HasPrefix(tag, "shared:")
		}
		out = append(out, m)
	}
	return out, nil
}

// isShared says whether the mount that a directory is in shares what is mounted below it.
func isShared(dir string) (bool, error) {
	all, err := mountPoints()
	if err != nil {
		return false, err
	}
	in := mountPoint{}
	for _, m := range all {
		if within(m.path, dir) && len(m.path) >= len(in.path) {
			in = m // of several at one place the last is on top
		}
	}
	return in.shared, nil
}

func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// Clean unmounts and removes what this node has made below root, without its drivers, which are gone with it. What is in volumes is not touched.
func Clean(root string) error {
	all, err := mountPoints()
	if err != nil {
		return err
	}
	at := paths{root}
	ours := []string{filepath.Join(root, "pods"), filepath.Join(root, "plugins", "kubernetes.io")}
	slices.Reverse(all)
	for _, m := range all {
		if m.path == root || slices.ContainsFunc(ours, func(dir string) bool { return within(dir, m.path) }) {
			if err := unix.Unmount(m.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmounting %s: %w", m.path, err)
			}
		}
	}
	for _, dir := range ours {
		if err := removeEmpty(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{filepath.Join(root, "plugins"), at.registry(), root} {
		os.Remove(dir) // if nobody else has something there
	}
	return nil
}

// removeEmpty removes a tree of records and directories. Anything else in it is somebody's data, which is left.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var bad error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			bad = errors.Join(bad, removeEmpty(path))
		case e.Name() == recordFile || e.Name() == recordFile+".tmp" || filepath.Base(filepath.Dir(dir)) == "publish":
			bad = errors.Join(bad, os.Remove(path))
		default:
			bad = errors.Join(bad, fmt.Errorf("%s is left: it is not a record of this node", path))
		}
	}
	if bad != nil {
		return bad
	}
	return os.Remove(dir)
}

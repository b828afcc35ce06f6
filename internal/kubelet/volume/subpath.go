package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// SubPath makes target a bind mount of the path sub within a volume, creating it as a directory if it is missing and create says so. No symbolic link in the
// volume, also one that a container plants while this runs, can lead out of it: the kernel resolves the path beneath the volume and what it found is mounted by descriptor.
func SubPath(volume, sub, target string, create bool) error {
	if !filepath.IsLocal(sub) {
		return fmt.Errorf("subPath %q must be relative to the volume, without \"..\"", sub)
	}
	root, err := unix.Open(volume, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("subPath %q: opening volume %s: %w", sub, volume, err)
	}
	defer unix.Close(root)
	fd, err := openBeneath(root, sub)
	if errors.Is(err, unix.ENOENT) && create {
		if err := makeBeneath(root, sub); err != nil {
			return fmt.Errorf("subPath %q: making the directory: %w", sub, err)
		}
		fd, err = openBeneath(root, sub)
	}
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("subPath %q: leads out of the volume, by a link in it; name a path that stays inside", sub)
	}
	if err != nil {
		return fmt.Errorf("subPath %q: %w", sub, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("subPath %q: %w", sub, err)
	}
	if err := makeTarget(target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return fmt.Errorf("subPath %q: %w", sub, err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("subPath %q: mounting it at %s: %w", sub, target, err)
	}
	return nil
}

// UnmountAll unmounts and removes what SubPath made anywhere below dir.
func UnmountAll(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		return err
	}
	for _, t := range found {
		if err := unmountBind(t); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// unmountBind unmounts until nothing is mounted: a bind mount may be on the same device as its parent, so isMount cannot tell.
func unmountBind(target string) error {
	for {
		switch err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err {
		case nil:
		case unix.EINVAL, unix.ENOENT:
			return nil
		default:
			return fmt.Errorf("unmounting %s: %w", target, err)
		}
	}
}

func openBeneath(root int, sub string) (int, error) {
	return unix.Openat2(root, sub, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
}

func makeBeneath(root int, sub string) error {
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return err
	}
	at := ""
	for part := range strings.SplitSeq(filepath.Clean(sub), "/") {
		parent, err := openBeneath(root, filepath.Join(".", at))
		if err != nil {
			return err
		}
		err = unix.Mkdirat(parent, part, st.Mode&0o7777|0o750)
		unix.Close(parent)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		at = filepath.Join(at, part)
	}
	return nil
}

package csi

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/kubelet/mounts"
)

// Clean unmounts and removes what this node has made below root, without its drivers, which are gone with it. What is in volumes is not touched.
func Clean(root string) error {
	all, err := mounts.Points()
	if err != nil {
		return err
	}
	at := paths{root}
	ours := []string{filepath.Join(root, "pods"), filepath.Join(root, "plugins", "kubernetes.io")}
	slices.Reverse(all)
	for _, m := range all {
		if m.Path == root || slices.ContainsFunc(ours, func(dir string) bool { return mounts.Within(dir, m.Path) }) {
			if err := unix.Unmount(m.Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmounting %s: %w", m.Path, err)
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

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
)

// Image volumes (KEP-4639) are views of images' snapshots, mounted in the Pod's directory. The first view is the one that the Pod keeps: what a tag stands
// for later is for later Pods, and neither a restart of a container nor of the machine needs the registry again.

// labelVolume marks the view of a volume with the image's ID, which the Pod's status reports.
const labelVolume = "gitopsd.io/image-volume"

func volumeKey(uid, volume string) string { return "volume-" + uid + "-" + volume }

// VolumeID gives the ID of the image that a Pod's volume shows; empty if it has not been made yet.
func (s *Store) VolumeID(ctx context.Context, uid, volume string) (string, error) {
	info, err := s.client.SnapshotService(Snapshotter).Stat(ctx, volumeKey(uid, volume))
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for the image of volume %q: %w", volume, err)
	}
	return info.Labels[labelVolume], nil
}

// MakeVolume keeps the image for a Pod's volume, unless that has one. Its target is made first: by that RemoveVolumes finds it, mounted or not.
func (s *Store) MakeVolume(ctx context.Context, uid, volume, target string, img *Image) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("making volume %q of image %q: %w", volume, img.Ref, err)
	}
	_, err := s.client.SnapshotService(Snapshotter).View(ctx, volumeKey(uid, volume), img.Chain, snapshots.WithLabels(map[string]string{
		"containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339), labelVolume: img.ID,
	}))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("making volume %q of image %q: %w", volume, img.Ref, err)
	}
	return nil
}

// MountVolume mounts a volume that has been made at target, read-only and for the Pod's user IDs, unless it is.
func (s *Store) MountVolume(ctx context.Context, uid, volume, target string, ids userns.Range) error {
	// Containers of a Pod that are created at the same time share the volume.
	_, err, _ := s.flight.Do("mount "+target, func() (any, error) {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return nil, err
		}
		if on, err := mounted(target); err != nil || on {
			return nil, err
		}
		mounts, err := s.client.SnapshotService(Snapshotter).Mounts(ctx, volumeKey(uid, volume))
		if err != nil {
			return nil, err
		}
		return nil, mountImage(mounts, target, ids)
	})
	if err != nil {
		return fmt.Errorf("mounting image volume %q: %w", volume, err)
	}
	return nil
}

// mounted says whether something is mounted at path itself, also from the same device.
func mounted(path string) (bool, error) {
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(parent)
	fd, err := unix.Openat2(parent, filepath.Base(path), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV})
	if err == nil {
		return false, unix.Close(fd)
	}
	if err == unix.EXDEV {
		return true, nil
	}
	return false, err
}

// mountImage mounts an image's view for a Pod's users; read-only, for snapshotters whose views could be written to.
func mountImage(mounts []mount.Mount, target string, ids userns.Range) error {
	if ids.Own() && len(mounts) == 1 && mounts[0].Type == "bind" {
		// Of one layer. mount.All makes it read-only or maps it, not both.
		users, err := mount.GetUsernsFD(ids.Mapping(), ids.Mapping())
		if err != nil {
			return err
		}
		defer users.Close()
		return mount.IDMapMountWithAttrs(mounts[0].Source, target, int(users.Fd()), unix.MOUNT_ATTR_RDONLY, 0)
	}
	for i := range mounts {
		mounts[i].Options = append(append(mounts[i].Options, "ro"), ids.MountOptions()...)
	}
	return mount.All(mounts, target)
}

// RemoveVolumes unmounts the image volumes in a Pod's directory for them and removes their views, and the directory. It may be repeated. A nil Store
// unmounts only: the views went with their containerd.
func (s *Store) RemoveVolumes(ctx context.Context, uid, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		target := filepath.Join(dir, e.Name())
		if err := mount.UnmountAll(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting image volume %q: %w", e.Name(), err)
		}
		if s != nil {
			if err := s.client.SnapshotService(Snapshotter).Remove(ctx, volumeKey(uid, e.Name())); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("removing image volume %q: %w", e.Name(), err)
			}
		}
		// Not with what it holds: a view that is still mounted, against all odds, must not be emptied.
		if err := os.Remove(target); err != nil {
			return err
		}
	}
	return os.Remove(dir)
}

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// Files of a snapshot's directory.
const (
	snapshotRecord = "snapshot.json"
	snapshotImage  = "snapshot.img"
)

// snapshotPlace is a snapshot's own directory.
func (s *Store) snapshotPlace(handle string) (string, error) {
	if err := pv.CheckHandle(handle); err != nil {
		return "", err
	}
	return filepath.Join(s.Dir, handle), nil
}

// TakeSnapshot has a snapshot be there of what the volume is now, unless it has been taken, and gives it as it is recorded, with its status. inUse says that a Pod may be
// writing to the volume.
func (s *Store) TakeSnapshot(ctx context.Context, v *corev1.PersistentVolume, c *snapshotv1.VolumeSnapshotContent, inUse bool) (*snapshotv1.VolumeSnapshotContent, error) {
	at, err := s.snapshotPlace(pv.SnapshotHandle(c))
	if err != nil {
		return nil, err
	}
	from, err := s.place(v)
	if err != nil {
		return nil, err
	}
	defer s.hold(at, from)()
	if got, err := readSnapshot(at); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return got, err
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, err
	}
	img := filepath.Join(at, snapshotImage)
	// An image without a record is of an earlier life of this process, and maybe older than what the volume is now: a snapshot that is asked for holds all that was
	// written before it was ready, so it is taken again.
	if err := s.clone(ctx, v, from, img, 0, inUse); err != nil {
		return nil, fmt.Errorf("taking a snapshot of PersistentVolume %s: %w", v.Name, err)
	}
	info, err := os.Stat(img)
	if err != nil {
		return nil, err
	}
	keep := c.DeepCopy()
	keep.ManagedFields, keep.ResourceVersion = nil, ""
	handle, ready := pv.SnapshotHandle(c), true
	keep.Status = &snapshotv1.VolumeSnapshotContentStatus{
		SnapshotHandle: &handle, CreationTime: ptr.To(time.Now().UnixNano()), RestoreSize: ptr.To(info.Size()), ReadyToUse: &ready,
	}
	if err := writeJSON(filepath.Join(at, snapshotRecord), keep); err != nil {
		return nil, err
	}
	reached("recorded")
	return keep, nil
}

// clone copies a volume's image.
func (s *Store) clone(ctx context.Context, v *corev1.PersistentVolume, from, to string, size int64, inUse bool) error {
	img, data := filepath.Join(from, imageFile), filepath.Join(from, pv.DataDir)
	if _, err := readRecord(from); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s lacks %s: no Pod has used it yet, or its directory is gone", ErrGone, from, recordFile)
	} else if err != nil {
		return err
	}
	if !exists(img) {
		return fmt.Errorf("it is a plain directory, by its class (%s) or as its node had no loop devices or no mkfs.ext4 when it was made: there are no snapshots and clones of those", pv.ParameterBound)
	}
	return cloneImage(ctx, img, to, size, func(shared bool) (func() error, error) {
		nothing := func() error { return nil }
		device := deviceOf(img)
		switch {
		case isBlock(v) && device != "" && inUse && !shared:
			return nil, fmt.Errorf("%w by a Pod: of a volume of the mode Block, on a disk whose file system cannot share blocks (xfs and btrfs can), it takes that no Pod uses it", ErrInUse)
		case isBlock(v) && device != "":
			return nothing, flush(device)
		case isMount(data):
			return freeze(data)
		}
		return nothing, nil
	})
}

// Fill makes a volume that begins with other data, unless it has been made. source is the volume that it begins with, nil for a snapshot.
func (s *Store) Fill(ctx context.Context, v, source *corev1.PersistentVolume, inUse bool) error {
	dir, err := s.place(v)
	if err != nil {
		return err
	}
	begin, ok := pv.SourceOf(v)
	if !ok {
		return fmt.Errorf("PersistentVolume %s: its annotation %s is not understood: %q", v.Name, pv.AnnSource, v.Annotations[pv.AnnSource])
	}
	var from string
	if source != nil {
		from, err = s.place(source)
	} else {
		from, err = s.snapshotPlace(begin.Snapshot)
	}
	if err != nil {
		return err
	}
	defer s.hold(dir, from)()
	if before, err := readRecord(dir); before != nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	img, size := filepath.Join(dir, imageFile), v.Spec.Capacity.Storage().Value()
	if source != nil {
		err = s.clone(ctx, source, from, img, size, inUse)
	} else if _, err = readSnapshot(from); err == nil {
		err = cloneImage(ctx, filepath.Join(from, snapshotImage), img, size, func(bool) (func() error, error) { return func() error { return nil }, nil })
	}
	if err != nil {
		return fmt.Errorf("PersistentVolume %s: filling it from %s: %w", v.Name, begin, err)
	}
	if err := writeRecord(dir, v); err != nil {
		return err
	}
	reached("recorded")
	return nil
}

// Snapshot gives a snapshot that is there.
func (s *Store) Snapshot(handle string) (*snapshotv1.VolumeSnapshotContent, error) {
	at, err := s.snapshotPlace(handle)
	if err != nil {
		return nil, err
	}
	got, err := readSnapshot(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("snapshot %s: %w: %s lacks %s", handle, ErrGone, at, snapshotRecord)
	}
	return got, err
}

// Snapshots lists those that are there. A directory whose record cannot be read is an error beside the rest.
func (s *Store) Snapshots() ([]*snapshotv1.VolumeSnapshotContent, error) {
	found, err := filepath.Glob(filepath.Join(s.Dir, "*", "*", snapshotRecord))
	if err != nil {
		return nil, err
	}
	var out []*snapshotv1.VolumeSnapshotContent
	var bad error
	for _, f := range found {
		if got, err := readSnapshot(filepath.Dir(f)); err != nil {
			bad = errors.Join(bad, err)
		} else {
			out = append(out, got)
		}
	}
	return out, bad
}

// RemoveSnapshot deletes a snapshot, or what is there of it.
func (s *Store) RemoveSnapshot(handle string) error {
	at, err := s.snapshotPlace(handle)
	if err != nil {
		return err
	}
	defer s.hold(at)()
	// The record first: what is left of a removal that is cut short is no snapshot.
	for _, f := range []string{snapshotRecord, snapshotRecord + ".deleted", snapshotRecord + ".tmp", snapshotImage, snapshotImage + ".new", ""} {
		if err := os.Remove(filepath.Join(at, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing snapshot %s: %w", handle, err)
		}
	}
	os.Remove(filepath.Dir(at)) // the namespace's, if that was its last
	return nil
}

// ForgetSnapshot keeps a snapshot's data and has Snapshots leave it out from now on.
func (s *Store) ForgetSnapshot(handle string) error {
	at, err := s.snapshotPlace(handle)
	if err != nil {
		return err
	}
	defer s.hold(at)()
	record := filepath.Join(at, snapshotRecord)
	if err := os.Rename(record, record+".deleted"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Thaw lets writes to volumes go on that a daemon which was killed had wait.
func (s *Store) Thaw() error {
	found, err := filepath.Glob(filepath.Join(s.Dir, "*", "*", pv.DataDir))
	if err != nil {
		return err
	}
	var bad error
	for _, at := range found {
		if !isMount(at) {
			continue
		}
		dir, err := os.Open(at)
		if err == nil {
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), fiThaw, 0); errno != 0 && errno != unix.EINVAL { // EINVAL: nothing waits
				err = errno
			}
			dir.Close()
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("having writes to %s go on: %w", at, err))
		}
	}
	return bad
}

// Used is how much of the disk a volume takes.
func (s *Store) Used(v *corev1.PersistentVolume) int64 {
	dir, err := s.place(v)
	if err != nil {
		return 0
	}
	return allocated(filepath.Join(dir, imageFile))
}

// allocated is what a file takes of the disk, holes left out: stat(2).
func allocated(path string) int64 {
	var of unix.Stat_t
	if unix.Stat(path, &of) != nil {
		return 0
	}
	return of.Blocks * 512
}

func readSnapshot(dir string) (*snapshotv1.VolumeSnapshotContent, error) {
	c := &snapshotv1.VolumeSnapshotContent{}
	path := filepath.Join(dir, snapshotRecord)
	if err := readJSON(path, c); err != nil {
		return nil, err
	}
	if c.Status == nil || !exists(filepath.Join(dir, snapshotImage)) {
		return nil, fmt.Errorf("%s: %w: %s is missing", path, ErrGone, snapshotImage)
	}
	return c, nil
}

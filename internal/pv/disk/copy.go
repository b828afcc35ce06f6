package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/durable"
)

// ErrInUse says that a volume cannot be copied while it is written to.
var ErrInUse = errors.New("it is in use")

// reached is called between the steps of a copy; a test ends the process there.
var reached = func(string) {}

// chunk is how much is copied between two looks at whether to go on.
const chunk = 64 << 20

// cloneImage makes to what from is at this moment: by sharing blocks where the file system can, and otherwise by copying what is not a hole. It is there complete or not
// at all. still has nobody write to from until it is called off; it is asked for as late as can be.
func cloneImage(ctx context.Context, from, to string, size int64, still func(shared bool) (release func() error, err error)) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	fresh := to + ".new"
	dst, err := os.OpenFile(fresh, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	defer func() {
		if err != nil {
			os.Remove(fresh) // a full disk gets its room back
		}
	}()
	reached("begun")
	// An attempt on what is there now says whether blocks can be shared: how long writers have to wait depends on it.
	shared := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil
	release, err := still(shared)
	if err != nil {
		return err
	}
	reached("still")
	if shared {
		err = unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	} else {
		err = copySparse(ctx, dst, src)
	}
	if err := errors.Join(err, release()); err != nil {
		return fmt.Errorf("copying %s to %s: %w", from, to, err)
	}
	info, err := dst.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size {
		if err := dst.Truncate(size); err != nil {
			return err
		}
	}
	reached("copied")
	if err := dst.Sync(); err != nil {
		return err
	}
	if err := os.Rename(fresh, to); err != nil {
		return err
	}
	reached("renamed")
	return durable.SyncDir(filepath.Dir(to))
}

// copySparse copies a file with its holes.
func copySparse(ctx context.Context, dst, src *os.File) error {
	info, err := src.Stat()
	if err != nil {
		return err
	}
	end := info.Size()
	for at := int64(0); at < end; {
		data, err := src.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end: lseek(2)
		}
		if err != nil {
			return err
		}
		hole, err := src.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for data < hole {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(chunk, hole-data)
			if _, err := src.Seek(data, io.SeekStart); err != nil {
				return err
			}
			if _, err := dst.Seek(data, io.SeekStart); err != nil {
				return err
			}
			if _, err := io.CopyN(dst, src, n); err != nil {
				return err
			}
			data += n
			reached("part")
		}
		at = hole
	}
	return dst.Truncate(end)
}

// Requests of ioctl_fsfreeze(2), include/uapi/linux/fs.h: _IOWR('X', 119, int) and 120.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// freeze has every write to the file system that is mounted at a directory wait, and all that was written before be on the disk.
func freeze(at string) (thaw func() error, err error) {
	dir, err := os.Open(at)
	if err != nil {
		return nil, err
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), fiFreeze, 0); errno != 0 {
		dir.Close()
		return nil, fmt.Errorf("having writes to %s wait (FIFREEZE): %w", at, errno)
	}
	return func() error {
		defer dir.Close()
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), fiThaw, 0); errno != 0 && errno != unix.EINVAL { // it has been thawed already
			return fmt.Errorf("having writes to %s go on (FITHAW): %w", at, errno)
		}
		return nil
	}, nil
}

// flush writes what a block device has in its cache to its image.
func flush(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

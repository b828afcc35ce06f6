package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/durable"
)

// errUnbound says that this host has no means to bound a volume.
var errUnbound = errors.New("the volume's size is no bound on this host")

// smallest is the size below which ext4 has no room for itself.
const smallest = 2 << 20

// makeImage makes a volume's file, with a file system unless the volume is of the mode Block. It is there complete or not at all.
func makeImage(img string, v *corev1.PersistentVolume) error {
	if !exists("/dev/loop-control") {
		return fmt.Errorf("%w: it has no loop devices (/dev/loop-control; modprobe loop)", errUnbound)
	}
	size := max(v.Spec.Capacity.Storage().Value(), smallest)
	fresh := img + ".new"
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if !isBlock(v) {
		mkfs, err := find("mkfs.ext4")
		if err != nil {
			os.Remove(fresh)
			return fmt.Errorf("%w: it has no mkfs.ext4 (package e2fsprogs)", errUnbound)
		}
		// No blocks for root alone: the volume is for its Pod. The tables are zero already, as the file is new.
		if out, err := exec.Command(mkfs, "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", fresh).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", mkfs, err, strings.TrimSpace(string(out)))
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(fresh, img); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(img))
}

// find looks for an administrator's program also where PATH may not lead.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, program); exists(path) {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// attach gives the loop device of an image, the one that it has or a new one. autoclear lets a new one go with its last user, which is the caller at first.
func attach(img string, autoclear bool) (*os.File, error) {
	if device := deviceOf(img); device != "" {
		return os.OpenFile(device, os.O_RDWR, 0)
	}
	back, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer back.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	// Direct: what is read and written is cached once, in the file system above.
	flags := uint32(unix.LO_FLAGS_DIRECT_IO)
	sector, err := sectorOf(img)
	if err != nil {
		return nil, err
	}
	if autoclear {
		flags |= unix.LO_FLAGS_AUTOCLEAR
	}
	for range 16 { // others may take the free device first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("finding a free loop device: %w", err)
		}
		device := fmt.Sprintf("/dev/loop%d", n)
		if err := node(device, n); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		cfg := unix.LoopConfig{Fd: uint32(back.Fd()), Size: sector, Info: unix.LoopInfo64{Flags: flags}}
		copy(cfg.Info.File_name[:len(cfg.Info.File_name)-1], img)
		err = unix.IoctlLoopConfigure(int(f.Fd()), &cfg)
		if errors.Is(err, unix.EINVAL) { // this disk cannot do direct I/O
			cfg.Info.Flags &^= unix.LO_FLAGS_DIRECT_IO
			err = unix.IoctlLoopConfigure(int(f.Fd()), &cfg)
		}
		if err == nil {
			return f, nil
		}
		f.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attaching %s to %s: %w", img, device, err)
		}
	}
	return nil, fmt.Errorf("attaching %s: every free loop device was taken by others", img)
}

// sectorOf is the logical sector that the device of an image has to have; 0 for what the disk below likes best. That may be 4 KiB, also from one day to the next, as
// on xfs once an image has been cloned: too much for a file system of smaller blocks, and for users of a raw device, who expect it to stay as it is.
func sectorOf(img string) (uint32, error) {
	const smallest, page = 512, 4096
	f, err := os.Open(img)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if block, _, err := superblock(f); err != nil || block >= page {
		return 0, err
	}
	return smallest, nil
}

// node makes a device's file where nobody does, as in a container.
func node(device string, n int) error {
	if exists(device) {
		return nil
	}
	const loopMajor = 7 // Documentation/admin-guide/devices.txt
	if err := unix.Mknod(device, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making %s: %w", device, err)
	}
	return nil
}

// deviceOf finds the loop device that has an image; empty if none has.
func deviceOf(img string) string {
	found, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range found {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSuffix(string(b), "\n") == img {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(f)))
		}
	}
	return ""
}

// detach lets go of the loop device that an image may have.
func detach(img string) error {
	device := deviceOf(img)
	if device == "" {
		return nil
	}
	f, err := os.OpenFile(device, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := unix.IoctlRetInt(int(f.Fd()), unix.LOOP_CLR_FD); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("detaching %s from %s: %w", img, device, err)
	}
	return nil
}

// mountImage mounts an image at a directory. What it has grown by while it was not mounted becomes the file system's first.
func mountImage(img, at string, options []string) error {
	if deviceOf(img) == "" {
		if err := fillOffline(img); err != nil {
			return err
		}
	}
	device, err := attach(img, true)
	if err != nil {
		return err
	}
	defer device.Close()
	flags, data := uintptr(unix.MS_NODEV|unix.MS_NOSUID), []string{"discard"} // what is deleted is given back to the disk
	for _, o := range options {
		switch o {
		case "noatime":
			flags |= unix.MS_NOATIME
		case "ro":
			flags |= unix.MS_RDONLY
		case "noexec":
			flags |= unix.MS_NOEXEC
		case "nodiscard":
			data = slices.DeleteFunc(data, func(d string) bool { return d == "discard" })
		default:
			data = append(data, o)
		}
	}
	if err := unix.Mount(device.Name(), at, "ext4", flags, strings.Join(data, ",")); err != nil {
		return fmt.Errorf("mounting %s (%s) at %s with options %q: %w", img, device.Name(), at, strings.Join(options, ","), err)
	}
	return nil
}

// extResize is EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64): fs/ext4/ext4.h.
const extResize = 0x40086610

// growImage makes an image and the file system in it larger, also while it is mounted at a directory. Without the right to do the latter it is done when it is
// mounted next, and errLater is returned.
func growImage(img, at string, size int64, options []string) (bool, error) {
	info, err := os.Stat(img)
	if err != nil {
		return false, err
	}
	if info.Size() < size {
		if err := os.Truncate(img, size); err != nil {
			return false, err
		}
	}
	size = max(size, info.Size())
	if device := deviceOf(img); device != "" {
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return false, err
		}
		_, err = unix.IoctlRetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY)
		f.Close() // now: an open device is one in use
		if err != nil {
			return false, fmt.Errorf("telling %s of its size: %w", device, err)
		}
	}
	has, err := filled(img)
	if err != nil || has < 0 || size-has < smallest {
		return info.Size() < size, err
	}
	if !isMount(at) {
		return true, nil // when it is mounted
	}
	if err := fill(at, size); !errors.Is(err, unix.EPERM) {
		return err == nil, err
	}
	// It takes CAP_SYS_RESOURCE, which this daemon lacks. Nobody else must have it mounted while it is done otherwise: the device goes with its last user.
	if err := unix.Unmount(at, unix.UMOUNT_NOFOLLOW); err != nil {
		return false, errLater
	}
	used := deviceOf(img) != ""
	if err := mountImage(img, at, options); err != nil || !used {
		return err == nil, err
	}
	return false, errLater
}

// errLater says that a file system grows when it is mounted next.
var errLater = errors.New("the file system cannot grow while it is in use, as the node daemon lacks CAP_SYS_RESOURCE: it does when the Pods that use it have ended")

// filled is how large the file system in an image is, in bytes; below 0 if there is none. See "The Super Block" in the kernel's documentation of ext4.
func filled(img string) (int64, error) {
	f, err := os.Open(img)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block, blocks, err := superblock(f)
	if err != nil || block == 0 {
		return -1, err
	}
	return block * blocks, nil
}

// superblock gives the size of the blocks of the file system in an image, and how many there are; 0 if there is none.
func superblock(f *os.File) (block, blocks int64, err error) {
	const magic = 0xef53
	b := make([]byte, 1024)
	if _, err := f.ReadAt(b, 1024); err != nil {
		return 0, 0, err
	}
	if binary.LittleEndian.Uint16(b[0x38:]) != magic {
		return 0, 0, nil
	}
	count := uint64(binary.LittleEndian.Uint32(b[0x4:])) | uint64(binary.LittleEndian.Uint32(b[0x150:]))<<32
	return 1 << (10 + binary.LittleEndian.Uint32(b[0x18:])), int64(count), nil
}

// fillOffline makes the file system of an image that nobody uses as large as the image.
func fillOffline(img string) error {
	info, err := os.Stat(img)
	if err != nil {
		return err
	}
	if has, err := filled(img); err != nil || has < 0 || info.Size()-has < smallest {
		return err
	}
	for _, args := range [][]string{{"e2fsck", "-f", "-p", img}, {"resize2fs", img}} {
		program, err := find(args[0])
		if err != nil {
			return fmt.Errorf("growing the file system in %s: this host has no %s (package e2fsprogs)", img, args[0])
		}
		out, err := exec.Command(program, args[1:]...).CombinedOutput()
		if code := (*exec.ExitError)(nil); errors.As(err, &code) && args[0] == "e2fsck" && code.ExitCode() == 1 {
			err = nil // it has put something right: e2fsck(8)
		}
		if err != nil {
			return fmt.Errorf("growing the file system in %s: %s: %w: %s", img, program, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// fill makes the file system that is mounted at a directory as large as its device.
func fill(at string, size int64) error {
	dir, err := os.Open(at)
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return err
	}
	blocks := uint64(size) / uint64(st.Bsize)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), extResize, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("growing the file system at %s: %w", at, errno)
	}
	return nil
}

// isMount says whether a path is a mount point, by being on another device than its parent.
func isMount(path string) bool {
	var self, parent unix.Stat_t
	return unix.Lstat(path, &self) == nil && unix.Lstat(filepath.Dir(path), &parent) == nil && self.Dev != parent.Dev
}

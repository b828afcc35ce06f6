package disk

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// errNoQuota says that the disk below has no project quota that is enforced.
var errNoQuota = errors.New("the disk has no project quota")

// byQuota says that a volume asks for a directory of the disk's own file system, bounded by a project quota.
func byQuota(v *corev1.PersistentVolume) bool {
	return v.Annotations[pv.AnnBound] == pv.BoundByQuota && !isBlock(v)
}

// Of the kernel's include/uapi/linux/{quota,dqblk_xfs,fs}.h. ext4 answers the calls that were made for xfs, too.
const (
	projectQuota = 2          // PRJQUOTA
	getQuota     = 'X'<<8 | 3 // Q_XGETQUOTA
	setLimits    = 'X'<<8 | 4 // Q_XSETQLIM
	getState     = 'X'<<8 | 5 // Q_XGETQSTAT

	accounted = 1 << 4 // FS_QUOTA_PDQ_ACCT
	enforced  = 1 << 5 // FS_QUOTA_PDQ_ENFD

	softBytes = 1 << 2 // FS_DQ_BSOFT
	hardBytes = 1 << 3 // FS_DQ_BHARD
	ofProject = 1 << 1 // FS_PROJ_QUOTA
	unit      = 512    // of the limits

	getAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	setAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
	inherit       = 0x200      // FS_XFLAG_PROJINHERIT
)

// quotaState is struct fs_quota_stat.
type quotaState struct {
	version int8
	flags   uint16
	_       [76]byte
}

// quota is struct fs_disk_quota.
type quota struct {
	version, kind        int8
	fields               uint16
	id                   uint32
	hard, soft           uint64
	filesHard, filesSoft uint64
	used, files          uint64
	_                    [56]byte
}

// attributes is struct fsxattr.
type attributes struct {
	flags, extent, extents, project, cowExtent uint32
	_                                          [8]byte
}

// quotactl calls quotactl_fd(2) for the file system of an open directory.
func quotactl(dir *os.File, command, id int, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, dir.Fd(), uintptr(command<<8|projectQuota), uintptr(id), uintptr(arg), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// hasQuota is nil if the file system of a directory enforces project quotas.
func hasQuota(dir *os.File) error {
	s := quotaState{version: 1}
	if err := quotactl(dir, getState, 0, unsafe.Pointer(&s)); err != nil || s.flags&(accounted|enforced) != accounted|enforced {
		return fmt.Errorf("%w: mount the file system of %s with prjquota (ext4 also takes `tune2fs -O quota,project`)", errNoQuota, dir.Name())
	}
	return nil
}

func quotaOf(dir *os.File, id uint32) (quota, error) {
	var q quota
	err := quotactl(dir, getQuota, int(id), unsafe.Pointer(&q))
	if errors.Is(err, unix.ENOENT) { // xfs, of a project that it has never heard of
		return quota{}, nil
	}
	return q, err
}

func limit(dir *os.File, id uint32, bytes int64) error {
	blocks := (uint64(bytes) + unit - 1) / unit
	q := quota{version: 1, kind: ofProject, fields: softBytes | hardBytes, id: id, hard: blocks, soft: blocks}
	if err := quotactl(dir, setLimits, int(id), unsafe.Pointer(&q)); err != nil {
		return fmt.Errorf("setting the quota of project %d, %s: %w", id, dir.Name(), err)
	}
	return nil
}

func attributesOf(dir *os.File) (attributes, error) {
	var a attributes
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), getAttributes, uintptr(unsafe.Pointer(&a))); errno != 0 {
		return a, errno
	}
	return a, nil
}

// ownProject are the attributes of a volume's directory. The project is its own, or zero: one that it has of the directory above is that of others beside it, such as what an administrator
// has bounded all of the data directory by.
func ownProject(dir *os.File) (attributes, error) {
	a, err := attributesOf(dir)
	if err != nil {
		return a, err
	}
	parent, err := os.Open(filepath.Dir(dir.Name()))
	if err != nil {
		return a, err
	}
	defer parent.Close()
	above, err := attributesOf(parent)
	if above.project == a.project {
		a.project = 0
	}
	return a, err
}

// makeProject makes a directory whose files, with all that are made below it, take no more room than a volume has. It may be there already.
func makeProject(path string, v *corev1.PersistentVolume) error {
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := hasQuota(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	a, err := ownProject(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if a.project == 0 {
		if a.project, err = freeProject(dir); err != nil {
			return err
		}
	}
	// The limit first: a directory of a project has one.
	if err := limit(dir, a.project, v.Spec.Capacity.Storage().Value()); err != nil {
		return err
	}
	a.flags |= inherit
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), setAttributes, uintptr(unsafe.Pointer(&a))); errno != 0 {
		return fmt.Errorf("giving %s the project %d: %w", path, a.project, errno)
	}
	if err := dir.Sync(); err != nil {
		return err
	}
	return parent.Sync()
}

// freeProject is a project that nothing on the disk is of. It is derived from the path, so that several daemons on one disk do not take the same.
func freeProject(dir *os.File) (uint32, error) {
	const first, most = 1 << 30, 1 << 30 // an administrator's own are small numbers
	h := fnv.New32a()
	h.Write([]byte(dir.Name()))
	for i := range uint32(1000) {
		id := first + (h.Sum32()+i)%most
		q, err := quotaOf(dir, id)
		if err != nil {
			return 0, fmt.Errorf("reading the quota of project %d, %s: %w", id, dir.Name(), err)
		}
		if q.hard == 0 && q.used == 0 && q.files == 0 {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%s: a thousand projects beside each other are taken on this disk; remove quotas that nothing needs (xfs_quota, repquota -P)", dir.Name())
}

// bounded says why the directory of a volume is not bounded by its project's quota; nil if it is.
func bounded(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := hasQuota(dir); err != nil {
		return err
	}
	a, err := ownProject(dir)
	if err != nil {
		return err
	}
	if a.project == 0 {
		return fmt.Errorf("%s is of no project of its own: it was copied", path)
	}
	if q, err := quotaOf(dir, a.project); err != nil || a.flags&inherit == 0 || q.hard == 0 {
		return errors.Join(fmt.Errorf("%s is of the project %d, which has no quota: it was copied, or the quota was removed", path, a.project), err)
	}
	return nil
}

// growProject raises the quota of a volume's directory.
func growProject(path string, size int64) (bool, error) {
	dir, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	a, err := ownProject(dir)
	if err != nil || a.project == 0 {
		return false, err
	}
	q, err := quotaOf(dir, a.project)
	if err != nil || q.hard == 0 || int64(q.hard)*unit >= size {
		return false, err
	}
	return true, limit(dir, a.project, size)
}

// projectOf is the project of its own that a volume's directory is of, with what it takes of the disk; 0 if it is of none.
func projectOf(path string) (id uint32, used int64) {
	dir, err := os.Open(path)
	if err != nil {
		return 0, 0
	}
	defer dir.Close()
	a, err := ownProject(dir)
	if err != nil || a.project == 0 {
		return 0, 0
	}
	q, err := quotaOf(dir, a.project)
	if err != nil {
		return a.project, 0
	}
	return a.project, int64(q.used) * unit
}

// endProject removes the quota of a project whose files are gone.
func endProject(below string, id uint32) error {
	dir, err := os.Open(below)
	if err != nil {
		return err
	}
	defer dir.Close()
	if q, err := quotaOf(dir, id); err != nil || q.hard == 0 {
		return nil // quotas are off, or it has none
	}
	return limit(dir, id, 0)
}

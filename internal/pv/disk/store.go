package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/durable"
	"github.com/gitopsd/gitopsd/internal/pv"
)

// ErrGone says that a volume which has been made is not there any more.
var ErrGone = errors.New("its data is gone")

// Files of a volume's directory.
const (
	recordFile = "volume.json"
	imageFile  = "disk.img"
)

// Store is the volumes below a directory. Calls for one volume exclude each other.
type Store struct {
	Dir string

	mu   sync.Mutex
	busy map[string]chan struct{} // directories that a call has; closed when it lets go
}

// hold waits until no other call has one of the directories. All are taken at once, so that no two calls wait for each other.
func (s *Store) hold(dirs ...string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy == nil {
		s.busy = map[string]chan struct{}{}
	}
	for {
		at := slices.IndexFunc(dirs, func(d string) bool { return s.busy[d] != nil })
		if at < 0 {
			break
		}
		other := s.busy[dirs[at]]
		s.mu.Unlock()
		<-other
		s.mu.Lock()
	}
	done := make(chan struct{})
	for _, d := range dirs {
		s.busy[d] = done
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, d := range dirs {
			delete(s.busy, d)
		}
		close(done)
	}
}

// Opened is a volume that Pods can use.
type Opened struct {
	Path   string // its directory, or for the mode Block its device
	Fresh  bool   // it was made by this call
	Bound  bool   // its size is a bound
	reason string
	slower string
}

// Unbound is why a volume's size is no bound; empty if it is one.
func (o Opened) Unbound() string { return o.reason }

// Slower is why a volume that was made now is a file system in a file where a project quota was asked for; empty if none was, or it has one.
func (o Opened) Slower() string { return o.slower }

// place is a volume's own directory.
func (s *Store) place(v *corev1.PersistentVolume) (string, error) {
	if !pv.IsLocal(v) {
		return "", fmt.Errorf("PersistentVolume %s is not one that nodes make", v.Name)
	}
	dir, name := filepath.Split(filepath.Clean(v.Spec.Local.Path))
	dir = filepath.Clean(dir)
	rel, err := filepath.Rel(s.Dir, dir)
	if err != nil || name != pv.DataDir || !filepath.IsLocal(rel) || strings.Count(rel, "/") != 1 {
		return "", fmt.Errorf("PersistentVolume %s: its path %s is not %s/NAMESPACE/CLAIM-UID/%s: the node's data directory was another one when it was made", v.Name, v.Spec.Local.Path, s.Dir, pv.DataDir)
	}
	return dir, nil
}

func isBlock(v *corev1.PersistentVolume) bool {
	return ptr.Deref(v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) == corev1.PersistentVolumeBlock
}

// Open makes a volume unless it is there, and mounts it unless it is mounted.
func (s *Store) Open(v *corev1.PersistentVolume) (Opened, error) {
	dir, err := s.place(v)
	if err != nil {
		return Opened{}, err
	}
	defer s.hold(dir)()
	before, err := readRecord(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Opened{}, err
	}
	if before == nil && v.Annotations[pv.AnnSource] != "" && v.Annotations[pv.AnnMade] == "" {
		return Opened{}, fmt.Errorf("PersistentVolume %s: it is still being filled", v.Name)
	}
	if before == nil && v.Annotations[pv.AnnMade] != "" {
		return Opened{}, fmt.Errorf("PersistentVolume %s: %w: %s on this node has held it since %s and lacks %s now; bring the directory back from a backup, "+
			"or delete the claim and create it anew, which starts empty", v.Name, ErrGone, dir, v.Annotations[pv.AnnMade], recordFile)
	}
	o := Opened{Fresh: before == nil}
	if before == nil {
		if err := s.create(dir, v, &o); err != nil {
			return Opened{}, fmt.Errorf("PersistentVolume %s: making %s: %w", v.Name, dir, err)
		}
	}
	if err := mount(dir, v, &o); err != nil {
		return Opened{}, fmt.Errorf("PersistentVolume %s: %w", v.Name, err)
	}
	return o, nil
}

// create makes what is missing of a new volume's directory; the record comes last.
func (s *Store) create(dir string, v *corev1.PersistentVolume, o *Opened) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	img := filepath.Join(dir, imageFile)
	if byQuota(v) && !exists(img) {
		err := makeProject(filepath.Join(dir, pv.DataDir), v)
		switch {
		case err == nil:
			return writeRecord(dir, v)
		case !errors.Is(err, errNoQuota):
			return err
		}
		o.slower = err.Error()
	}
	if !exists(img) {
		err := makeImage(img, v)
		switch {
		case errors.Is(err, errUnbound) && !isBlock(v):
			o.reason = err.Error()
		case err != nil:
			return err
		}
	}
	return writeRecord(dir, v)
}

// mount brings a volume that has been made to where Pods find it.
func mount(dir string, v *corev1.PersistentVolume, o *Opened) error {
	img, data := filepath.Join(dir, imageFile), filepath.Join(dir, pv.DataDir)
	o.Bound = exists(img)
	switch {
	case isBlock(v):
		if !o.Bound {
			return fmt.Errorf("%w: %s is missing", ErrGone, img)
		}
		device, err := attach(img, false)
		if err != nil {
			return err
		}
		o.Path = device.Name()
		return device.Close()
	case !o.Bound && !exists(data) && !o.Fresh:
		return fmt.Errorf("%w: neither %s nor %s is there; bring them back from a backup, or delete the claim and create it anew, which starts empty", ErrGone, img, data)
	}
	o.Path = data
	if isMount(data) {
		return nil
	}
	if !o.Bound && byQuota(v) && o.reason == "" {
		if err := bounded(data); err != nil {
			o.reason = err.Error()
		}
		o.Bound = o.reason == ""
		return o.chmod()
	}
	if err := os.MkdirAll(data, 0o777); err != nil {
		return err
	}
	if o.Bound {
		if err := mountImage(img, data, v.Spec.MountOptions); err != nil {
			return err
		}
	}
	return o.chmod()
}

// chmod opens a new volume to any user, who may be the one who writes, as of an emptyDir; the umask does not apply.
func (o *Opened) chmod() error {
	if !o.Fresh {
		return nil
	}
	return os.Chmod(o.Path, 0o777)
}

// Grow makes a volume as large as it says, while it is in use or not, and says whether it was smaller. An error may be that it has to wait until it is not in use.
func (s *Store) Grow(v *corev1.PersistentVolume) (bool, error) {
	dir, err := s.place(v)
	if err != nil {
		return false, err
	}
	defer s.hold(dir)()
	if _, err := readRecord(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil // it will be made as large
	} else if err != nil {
		return false, err
	}
	img, data, size := filepath.Join(dir, imageFile), filepath.Join(dir, pv.DataDir), v.Spec.Capacity.Storage().Value()
	var grew bool
	switch {
	case exists(img):
		grew, err = growImage(img, data, size, v.Spec.MountOptions)
	case byQuota(v):
		grew, err = growProject(data, size)
	}
	if err != nil {
		return false, fmt.Errorf("PersistentVolume %s: making it larger, in %s: %w", v.Name, dir, err)
	}
	if !grew {
		return false, nil
	}
	return true, writeRecord(dir, v)
}

// Remove deletes a volume and its data.
func (s *Store) Remove(v *corev1.PersistentVolume) error {
	dir, err := s.place(v)
	if err != nil {
		return err
	}
	defer s.hold(dir)()
	data := filepath.Join(dir, pv.DataDir)
	// Not detached: what cannot be unmounted is in use, and below it is the data.
	for isMount(data) {
		if err := unix.Unmount(data, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("PersistentVolume %s: unmounting %s: %w", v.Name, data, err)
		}
	}
	if img := filepath.Join(dir, imageFile); exists(img) {
		if err := detach(img); err != nil {
			return fmt.Errorf("PersistentVolume %s: %w", v.Name, err)
		}
	}
	var project uint32
	if byQuota(v) {
		project, _ = projectOf(data)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("PersistentVolume %s: %w", v.Name, err)
	}
	if project != 0 {
		if err := endProject(s.Dir, project); err != nil {
			return fmt.Errorf("PersistentVolume %s: its data is gone: %w", v.Name, err)
		}
	}
	os.Remove(filepath.Dir(dir)) // the namespace's, if that was its last
	return nil
}

// Close lets go of the devices of volumes that are left on the disk. Those of the mode Block do not go with their last user; one that is still used goes with that.
func (s *Store) Close() error {
	found, bad := s.List()
	for _, v := range found {
		dir, err := s.place(v)
		if err == nil && isBlock(v) {
			release := s.hold(dir)
			err = detach(filepath.Join(dir, imageFile))
			release()
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("PersistentVolume %s: %w", v.Name, err))
		}
	}
	return bad
}

// Forget keeps a volume's data and has List leave it out from now on: its PersistentVolume was deleted by somebody who wanted the data to stay.
func (s *Store) Forget(v *corev1.PersistentVolume) error {
	dir, err := s.place(v)
	if err != nil {
		return err
	}
	defer s.hold(dir)()
	err = os.Rename(filepath.Join(dir, recordFile), filepath.Join(dir, recordFile+".deleted"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List gives the volumes that are there, each as it was recorded. A directory whose record cannot be read is an error beside the rest.
func (s *Store) List() ([]*corev1.PersistentVolume, error) {
	found, err := filepath.Glob(filepath.Join(s.Dir, "*", "*", recordFile))
	if err != nil {
		return nil, err
	}
	var out []*corev1.PersistentVolume
	var bad error
	for _, f := range found {
		v, err := readRecord(filepath.Dir(f))
		if err != nil {
			bad = errors.Join(bad, err)
			continue
		}
		if dir, err := s.place(v); err != nil || dir != filepath.Dir(f) {
			bad = errors.Join(bad, fmt.Errorf("%s is of a volume at %v: the directory was moved or copied; it is left alone", f, v.Spec.Local))
			continue
		}
		out = append(out, v)
	}
	return out, bad
}

// Room is how large all volumes may be together: what is free on the disk, and what volumes have taken of it already.
func (s *Store) Room() (pv.Room, error) {
	if err := os.MkdirAll(s.Dir, 0o711); err != nil {
		return pv.Room{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.Dir, &st); err != nil {
		return pv.Room{}, fmt.Errorf("reading how full the disk of %s is: %w", s.Dir, err)
	}
	room := pv.Room{Path: s.Dir, Bytes: int64(st.Bavail) * st.Bsize}
	images, err := filepath.Glob(filepath.Join(s.Dir, "*", "*", imageFile))
	if err != nil {
		return pv.Room{}, err
	}
	for _, img := range images {
		room.Bytes += allocated(img)
	}
	volumes, err := s.List()
	for _, v := range volumes {
		if byQuota(v) {
			_, used := projectOf(v.Spec.Local.Path)
			room.Bytes += used
		}
	}
	if err != nil {
		slog.Debug("a volume's directory is not understood; its room is counted as taken", "err", err)
	}
	return room, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func readRecord(dir string) (*corev1.PersistentVolume, error) {
	v := &corev1.PersistentVolume{}
	path := filepath.Join(dir, recordFile)
	if err := readJSON(path, v); err != nil {
		return nil, err
	}
	if v.Spec.Local == nil {
		return nil, fmt.Errorf("%s: it is not a volume of a node's disk", path)
	}
	return v, nil
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeRecord(dir string, v *corev1.PersistentVolume) error {
	keep := v.DeepCopy()
	keep.ManagedFields, keep.ResourceVersion, keep.Status = nil, "", corev1.PersistentVolumeStatus{}
	return writeJSON(filepath.Join(dir, recordFile), keep)
}

// writeJSON writes a file whole, whatever crashes.
func writeJSON(path string, obj any) error {
	b, err := json.MarshalIndent(obj, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(path, b)
}

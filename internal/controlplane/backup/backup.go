package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
	"github.com/gitopsd/gitopsd/internal/durable"
)

const (
	database = "etcd.db"
	etcdDir  = "etcd"
	keysDir  = "pki"
	secret   = "webhook-secret"
	// sums comes last, and says what all the others are: a file that is cut between two of them would else be taken for whole, and a key that was changed for one.
	sums = "sha256sums"
	// restoringDir is in a data directory while that is being restored.
	restoringDir = etcdDir + ".restoring"
	// maxKeyBytes bounds what is taken for a key, certificate or configuration of keys.
	maxKeyBytes = 1 << 20
)

// unfinished is what the names are like of files that are being written.
const unfinished = ".backup-*"

// sweep removes what backups that were killed have left in a directory, unless another is being written there just now. Until release no other sweep removes anything.
func sweep(dir string) (release func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		left, err := filepath.Glob(filepath.Join(dir, unfinished))
		for _, path := range left {
			err = errors.Join(err, durable.Remove(path))
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	// Where directories cannot be locked, as on some network file systems, nothing is ever swept.
	_ = unix.Flock(int(f.Fd()), unix.LOCK_SH)
	return func() { f.Close() }, nil
}

// Write copies the control plane of a data directory to a file, which is there complete or not at all. Its etcd must be answering.
func Write(ctx context.Context, dataDir, file string) (_ etcd.Status, err error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return etcd.Status{}, fmt.Errorf("%s is there and is no file: it is not replaced by one", file)
	}
	release, err := sweep(filepath.Dir(file))
	if err != nil {
		return etcd.Status{}, err
	}
	defer release()
	tmp, err := os.CreateTemp(filepath.Dir(file), unfinished) // only its owner may read it
	if err != nil {
		return etcd.Status{}, err
	}
	db := tmp.Name() + ".db"
	defer func() { err = errors.Join(err, tmp.Close(), durable.Remove(tmp.Name()), durable.Remove(db)) }()
	keys, err := readKeys(dataDir)
	if err != nil {
		return etcd.Status{}, err
	}
	status, err := etcd.Save(ctx, filepath.Join(dataDir, etcdDir), db)
	if err != nil {
		return status, err
	}
	// By a rotation of keys those before may not read all of the snapshot, nor those after.
	if after, err := readKeys(dataDir); err != nil {
		return status, err
	} else if !maps.EqualFunc(keys, after, bytes.Equal) {
		return status, fmt.Errorf("the keys in %s were changed meanwhile: take it again", filepath.Join(dataDir, keysDir))
	}
	w := archive{Writer: tar.NewWriter(tmp)}
	if err := w.addFile(database, db); err != nil {
		return status, err
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if err := w.add(name, time.Now(), int64(len(keys[name])), bytes.NewReader(keys[name])); err != nil {
			return status, err
		}
	}
	if err := errors.Join(w.finish(), tmp.Sync()); err != nil {
		return status, err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return status, err
	}
	return status, durable.SyncDir(filepath.Dir(file))
}

// readKeys gives the keys in a data directory by their paths there.
func readKeys(dataDir string) (map[string][]byte, error) {
	keys := map[string][]byte{}
	paths, err := filepath.Glob(filepath.Join(dataDir, keysDir, "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(paths, filepath.Join(dataDir, secret)) {
		name, err := filepath.Rel(dataDir, path)
		if err != nil {
			return nil, err
		}
		content, err := os.ReadFile(path)
		if name == secret && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		keys[name] = content
	}
	return keys, nil
}

// archive is a file that is being written, with the sums of what is in it.
type archive struct {
	*tar.Writer
	sums strings.Builder
}

func (w *archive) addFile(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return w.add(name, info.ModTime(), info.Size(), f)
}

func (w *archive) add(name string, at time.Time, size int64, from io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: at}); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, h), from); err != nil {
		return err
	}
	w.sums.WriteString(sum(name, h.Sum(nil)))
	return nil
}

func (w *archive) finish() error {
	if err := w.WriteHeader(&tar.Header{Name: sums, Mode: 0o600, Size: int64(w.sums.Len())}); err != nil {
		return err
	}
	_, err := io.WriteString(w, w.sums.String())
	return errors.Join(err, w.Close())
}

// sum is a line as sha256sum(1) writes it.
func sum(name string, hash []byte) string { return fmt.Sprintf("%x  %s\n", hash, name) }

// Restored is what a restore has done.
type Restored struct {
	Taken  time.Time // when the backup was
	Before string    // where the etcd is that was there before; empty if there was none
}

// CutShort says whether a restore into a data directory was cut short when it had changed something already, so that what is there is neither what was nor what is to be. Another
// restore mends it.
func CutShort(dataDir string) (dir string, is bool) {
	dir = filepath.Join(dataDir, restoringDir)
	_, err := os.Stat(dir)
	return dir, err == nil && !etcd.Begun(filepath.Join(dataDir, etcdDir))
}

// Restore makes a data directory, which no control plane may be using, one with what is in a file. now names what was there before.
func Restore(dataDir, file string, now time.Time) (r Restored, err error) {
	dir, changed := CutShort(dataDir)
	fresh, db := filepath.Join(dir, etcdDir), filepath.Join(dir, database)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.RemoveAll(fresh), durable.Remove(db)); err != nil { // of a restore that was cut short
		return r, err
	}
	defer func() {
		if err == nil || !changed {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	keys, taken, err := read(file, db)
	if err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	r.Taken = taken
	// All that can be wrong is found before anything is changed.
	for name, content := range keys {
		have, err := os.ReadFile(filepath.Join(dataDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && !bytes.Equal(have, content) {
			err = fmt.Errorf("%s is not the one in %s, so the backup is another cluster's, or of before the keys were made anew; restore into an empty --data-dir, or move %s away",
				filepath.Join(dataDir, name), file, filepath.Join(dataDir, keysDir))
		}
		if err != nil {
			return r, err
		}
	}
	if err := etcd.Restore(db, fresh); err != nil {
		return r, err
	}
	changed = true
	if err := errors.Join(durable.SyncDir(dataDir), os.MkdirAll(filepath.Join(dataDir, keysDir), 0o700)); err != nil {
		return r, err
	}
	for name, content := range keys {
		if err := durable.Replace(filepath.Join(dataDir, name), content); err != nil {
			return r, err
		}
	}
	at := filepath.Join(dataDir, etcdDir)
	before := at + now.UTC().Format(".before-20060102-150405")
	if err := os.Rename(at, before); err == nil {
		r.Before = before
	} else if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if err := os.Rename(fresh, at); err != nil {
		return r, err
	}
	return r, durable.SyncDir(dataDir)
}

// read gives the keys in a backup, by their paths in the data directory, and writes the snapshot to db.
func read(file, db string) (keys map[string][]byte, taken time.Time, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, taken, err
	}
	defer f.Close()
	keys = map[string][]byte{}
	var found strings.Builder
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, taken, errors.New("it was not made by gitopsd backup, or is not complete")
		case err != nil:
			return nil, taken, fmt.Errorf("it is no backup of gitopsd: %w", err)
		case h.Name == sums:
			b, err := io.ReadAll(io.LimitReader(r, maxKeyBytes))
			if err != nil {
				return nil, taken, err
			}
			if string(b) != found.String() || taken.IsZero() || len(keys) == 0 {
				return nil, taken, errors.New("it is damaged: its content is not what its checksums say")
			}
			return keys, taken, nil
		case h.Name == database:
			hash := sha256.New()
			if err := write(db, io.TeeReader(r, hash)); err != nil {
				return nil, taken, err
			}
			found.WriteString(sum(h.Name, hash.Sum(nil)))
			taken = h.ModTime
		case h.Name == secret, strings.HasPrefix(h.Name, keysDir+"/") && filepath.IsLocal(h.Name) && strings.Count(h.Name, "/") == 1:
			b, err := io.ReadAll(io.LimitReader(r, maxKeyBytes))
			if err != nil {
				return nil, taken, err
			}
			hash := sha256.Sum256(b)
			found.WriteString(sum(h.Name, hash[:]))
			keys[h.Name] = b
		default:
			return nil, taken, fmt.Errorf("it holds %q, which this release does not know", h.Name)
		}
	}
}

func write(path string, from io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

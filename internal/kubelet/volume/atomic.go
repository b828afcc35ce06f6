package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is a file of a volume whose content comes from the API.
type File struct {
	Data []byte
	Mode fs.FileMode
	UID  int // owner; 0 unless a token is for one user only
}

// Files are a volume's whole content, by path relative to it.
type Files map[string]File

// dataLink is the link that is switched from one version of the content to the next. Programs that watch volumes for changes look for this name.
const dataLink = "..data"

// write makes dir hold exactly files. The content is written to a directory of its own, then a symbolic link is moved onto it, so that a
// reader sees either all of the old or all of the new. It says whether anything changed.
func write(dir string, files Files, gid *int64) (changed bool, err error) {
	for name := range files {
		if err := checkPath(name); err != nil {
			return false, err
		}
	}
	if same(dir, files) {
		return false, nil
	}
	version, err := os.MkdirTemp(dir, "..version-")
	if err != nil {
		return false, err
	}
	if err := os.Chmod(version, 0o755); err != nil {
		return false, err
	}
	for name, f := range files {
		path := filepath.Join(version, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return false, err
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			return false, err
		}
		if err := os.Chmod(path, f.Mode); err != nil { // not subject to the umask, unlike creating it so
			return false, err
		}
		if f.UID != 0 {
			if err := os.Chown(path, f.UID, -1); err != nil {
				return false, err
			}
		}
	}
	if gid != nil {
		if err := setGroup(version, *gid, true); err != nil {
			return false, err
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, dataLink))
	next := filepath.Join(dir, dataLink+".next")
	os.Remove(next)
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		return false, err
	}
	if err := os.Rename(next, filepath.Join(dir, dataLink)); err != nil {
		return false, err
	}
	if err := linkTops(dir, files); err != nil {
		return false, err
	}
	if old != "" {
		os.RemoveAll(filepath.Join(dir, old))
	}
	return true, sweep(dir, filepath.Base(version))
}

// linkTops gives each top-level name a link into the current version, and removes links whose name is gone.
func linkTops(dir string, files Files) error {
	tops := map[string]bool{}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		tops[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") && !tops[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for top := range tops {
		err := os.Symlink(filepath.Join(dataLink, top), filepath.Join(dir, top))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// sweep removes versions that a crash left behind.
func sweep(dir, keep string) error {
	left, err := filepath.Glob(filepath.Join(dir, "..version-*"))
	for _, v := range left {
		if filepath.Base(v) != keep {
			os.RemoveAll(v)
		}
	}
	return err
}

// same says whether dir holds exactly files already.
func same(dir string, files Files) bool {
	root := filepath.Join(dir, dataLink) + "/"
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f, ok := files[name]
		if !ok {
			return fs.ErrExist
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(b, f.Data) {
			return fs.ErrInvalid
		}
		n++
		return nil
	})
	return err == nil && n == len(files) && exists(root)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkPath refuses what would lead out of the volume or collide with this package's own names. The API validates it too; a node does not rely on that.
func checkPath(name string) error {
	if !filepath.IsLocal(name) || name != filepath.Clean(name) || strings.HasPrefix(name, "..") || name == "." || len(name) > 4096 {
		return fmt.Errorf("%q cannot be a path in a volume: it must name a file below it, without \"..\", and not start with \"..\"", name)
	}
	return nil
}

// setGroup gives everything below dir to a group that may then read it (and write it, unless readOnly), new files in it too.
func setGroup(dir string, gid int64, readOnly bool) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return os.Lchown(path, -1, int(gid))
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, int(gid)); err != nil {
			return err
		}
		mode := info.Mode()
		add := fs.FileMode(0o660)
		if readOnly {
			add = 0o440
		}
		if d.IsDir() {
			add |= 0o110 | fs.ModeSetgid
		}
		return os.Chmod(path, mode|add)
	})
}

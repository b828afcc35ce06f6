package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Folder opens a folder on this machine the way Read opens a commit, for a look at changes before they are committed. The tree is the whole work tree that the
// folder lies in, because an overlay may refer to its base; dir is the folder's path in it. Nothing outside of the tree is read: symbolic links that leave it are errors.
func Folder(folder string) (tree fs.FS, dir string, closer io.Closer, err error) {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return nil, "", nil, err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, "", nil, err
	}
	top := abs
	for at := abs; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			top = at
			break
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, "", nil, err
	}
	dir, err = filepath.Rel(top, abs)
	if err != nil {
		return nil, "", nil, errors.Join(err, root.Close())
	}
	return folderTree{root.FS()}, filepath.ToSlash(dir), root, nil
}

// folderTree bounds what a file on this machine may hold, as a Tree does.
type folderTree struct{ fs.FS }

func (t folderTree) ReadFile(name string) ([]byte, error) {
	info, err := fs.Stat(t.FS, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, &ParseError{File: name, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", info.Size(), maxFileBytes)}
	}
	return fs.ReadFile(t.FS, name)
}

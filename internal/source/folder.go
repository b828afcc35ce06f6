package source

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Folder reads a folder on this machine the way Files reads one of a commit, for a look at changes before they are committed. Like there,
// nothing outside of the folder is read: symbolic links that leave it are errors.
func Folder(dir string) ([]File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	tree := root.FS()
	var files []File
	total := 0
	st, err := fs.Stat(tree, ChartFile)
	chart := err == nil && st.Mode().IsRegular()
	err = fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != "." && strings.HasPrefix(e.Name(), ".") {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() || !chart && !concerns(name) {
			return nil
		}
		info, err := fs.Stat(tree, name)
		switch {
		case err != nil:
			return err
		case info.IsDir():
			return nil
		case info.Size() > maxFileBytes:
			return ParseErrors{{File: name, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", info.Size(), maxFileBytes)}}
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if total += len(data); total > maxTotalBytes || len(files) == maxFiles {
			return ParseErrors{{File: name, Message: "the folder is too large for one Application; split it"}}
		}
		files = append(files, File{Path: name, Data: data})
		return nil
	})
	return files, err
}

package source

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// ignoreFile lists what of a repository is not for gitopsd, in the form of a .gitignore, for the folder it lies in and those below.
const ignoreFile = ".sourceignore"

// Ignoring hides what the .sourceignore files say: those of dir, and of the folders above it; more is what that at the root is taken to say besides. Hidden files do not
// exist for anybody who reads the result.
func Ignoring(tree fs.FS, dir, more string) (fs.FS, error) {
	var found []gitignore.Pattern
	folders := []string{"."}
	if dir != "." {
		for i, c := range dir {
			if c == '/' {
				folders = append(folders, dir[:i])
			}
		}
		folders = append(folders, dir)
	}
	for _, f := range folders {
		data, err := fs.ReadFile(tree, path.Join(f, ignoreFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		var domain []string
		if f != "." {
			domain = strings.Split(f, "/")
		}
		found = append(found, parsePatterns(strings.Split(string(data), "\n"), domain)...)
		if f == "." {
			found = append(found, parsePatterns(strings.Split(more, "\n"), nil)...)
		}
	}
	if len(found) == 0 {
		return tree, nil
	}
	return &ignoring{FS: tree, match: gitignore.NewMatcher(found)}, nil
}

type ignoring struct {
	fs.FS
	match gitignore.Matcher
}

func (i *ignoring) String() string { return describeTree(i.FS) }

// hidden says whether a path, or a folder that it lies in, is ignored.
func (i *ignoring) hidden(name string, isDir bool) bool {
	if name == "." {
		return false
	}
	parts := strings.Split(name, "/")
	for n := 1; n < len(parts); n++ {
		if i.match.Match(parts[:n], true) {
			return true
		}
	}
	return i.match.Match(parts, isDir)
}

func (i *ignoring) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(i.FS, name)
	if err == nil && i.hidden(name, info.IsDir()) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return info, err
}

func (i *ignoring) ReadFile(name string) ([]byte, error) {
	if i.hidden(name, false) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return fs.ReadFile(i.FS, name)
}

func (i *ignoring) ReadDir(name string) ([]fs.DirEntry, error) {
	if i.hidden(name, true) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	entries, err := fs.ReadDir(i.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return i.hidden(path.Join(name, e.Name()), e.IsDir()) }), err
}

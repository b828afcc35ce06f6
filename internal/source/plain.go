package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// CleanPath brings spec.source.path to the form that an fs.FS takes: "a/b", or "." for the root.
func CleanPath(p string) (string, error) {
	if slices.Contains(strings.Split(p, "/"), "..") {
		return "", failf(InvalidSource, "path %q: .. is not allowed; spec.source.path is relative to the repository's root", p)
	}
	if strings.ContainsRune(p, 0) {
		return "", failf(InvalidSource, "path %q holds a null character", p)
	}
	clean := strings.TrimPrefix(path.Clean("/"+p), "/")
	if clean == "" {
		clean = "."
	}
	return clean, nil
}

// CheckFolder says whether a clean path is a folder, and what there is instead if it is not.
func CheckFolder(tree fs.FS, dir string) error {
	info, err := fs.Stat(tree, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failf(PathNotFound, "path %q does not exist in %s; %s", dir, describeTree(tree), suggest(tree, dir))
	case err != nil:
		return err
	case info.Mode()&fs.ModeIrregular != 0:
		return failf(PathNotFound, "path %q is a submodule in %s; set spec.source.submodules", dir, describeTree(tree))
	case !info.IsDir():
		return failf(PathNotFound, "path %q is a file in %s; spec.source.path must be a folder", dir, describeTree(tree))
	}
	return nil
}

func describeTree(tree fs.FS) string {
	if s, ok := tree.(fmt.Stringer); ok {
		return s.String()
	}
	return "the folder"
}

// suggest says what is there instead of a missing path.
func suggest(tree fs.FS, p string) string {
	for p != "." {
		p = path.Dir(p)
		entries, err := fs.ReadDir(tree, p)
		if err != nil {
			continue
		}
		var names []string
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && len(names) < 10 {
				names = append(names, path.Join(p, e.Name()))
			}
		}
		if len(names) > 0 {
			return "folders there: " + strings.Join(names, ", ")
		}
	}
	return "there are no folders in it"
}

// Plain returns the manifests below dir, sorted by path, hidden files and folders left out, and the folders below it that are for kustomize, whose files are not
// among them. With the manifests come files that say that a folder is a Helm chart.
func Plain(tree fs.FS, dir string, d *v1alpha1.Directory) (files []File, overlays []string, err error) {
	w := walker{tree: tree, root: dir, wanted: concerns, recurse: true, overlays: true}
	if d != nil {
		w.recurse = d.Recurse == nil || *d.Recurse
		w.include, w.exclude = patterns(d.Include), patterns(d.Exclude)
	}
	files, err = w.files()
	return files, w.found, err
}

// KustomizationFiles are the names, any one of which makes a folder one for kustomize.
var KustomizationFiles = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// Whole returns every file below dir, sorted by path, hidden ones left out: a chart may use any of its files.
func Whole(tree fs.FS, dir string) ([]File, error) {
	w := walker{tree: tree, root: dir, wanted: func(string) bool { return true }, recurse: true}
	return w.files()
}

// patterns reads lines as they stand in a .gitignore.
func patterns(lines []string) gitignore.Matcher {
	if len(lines) == 0 {
		return nil
	}
	return gitignore.NewMatcher(parsePatterns(lines, nil))
}

func parsePatterns(lines, domain []string) []gitignore.Pattern {
	var out []gitignore.Pattern
	for _, l := range lines {
		if l = strings.TrimRight(l, "\r"); strings.TrimSpace(l) != "" && !strings.HasPrefix(l, "#") {
			out = append(out, gitignore.ParsePattern(l, domain))
		}
	}
	return out
}

// walker collects the files of one folder.
type walker struct {
	tree             fs.FS
	root             string
	wanted           func(name string) bool
	recurse          bool
	include, exclude gitignore.Matcher
	// overlays has folders for kustomize below the root put into found instead of being read.
	overlays bool
	found    []string

	out   []File
	total int64
	// open are the folders between the root of the walk and where it is, to notice links that lead back into one of them.
	open []fs.FileInfo
}

func (w *walker) files() ([]File, error) {
	err := w.walk(w.root)
	var pe *ParseError
	if errors.As(err, &pe) {
		return nil, ParseErrors{pe}
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(w.out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return w.out, nil
}

func (w *walker) walk(dir string) error {
	self, err := fs.Stat(w.tree, dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(w.open, func(o fs.FileInfo) bool { return sameFolder(o, self) }) {
		return &ParseError{File: dir, Message: "a symbolic link leads back into a folder that it lies in"}
	}
	w.open = append(w.open, self)
	defer func() { w.open = w.open[:len(w.open)-1] }()
	entries, err := fs.ReadDir(w.tree, dir)
	if err != nil {
		return err
	}
	if w.overlays && dir != w.root && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return slices.Contains(KustomizationFiles, e.Name()) }) {
		w.found = append(w.found, dir)
		return nil
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			info, err := fs.Stat(w.tree, name)
			switch {
			case errors.Is(err, fs.ErrNotExist) && IsManifest(name) && w.takes(name, false):
				return &ParseError{File: name, Message: "symbolic link to something that is not in the commit"}
			case errors.Is(err, fs.ErrNotExist):
				continue // of no interest, such as a dangling link to a text file
			case err != nil:
				return err
			}
			mode = info.Mode()
		}
		if !w.takes(name, mode.IsDir()) {
			continue
		}
		switch {
		case mode&fs.ModeIrregular != 0:
			return &ParseError{File: name, Message: "a submodule; its files are in another repository: set spec.source.submodules, or make it an Application of its own"}
		case mode.IsDir():
			if w.recurse {
				if err := w.walk(name); err != nil {
					return err
				}
			}
		case mode.IsRegular():
			if err := w.read(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// takes says whether the patterns let a path in.
func (w *walker) takes(name string, isDir bool) bool {
	if w.include == nil && w.exclude == nil {
		return true
	}
	rel := strings.Split(relativeTo(w.root, name), "/")
	if w.exclude != nil && w.exclude.Match(rel, isDir) {
		return false
	}
	return isDir || w.include == nil || w.include.Match(rel, false)
}

func relativeTo(root, name string) string {
	if root == "." {
		return name
	}
	return strings.TrimPrefix(name, root+"/")
}

// sameFolder compares by content in a Tree, where a folder that holds itself would be the same, and by inode on a disk.
func sameFolder(a, b fs.FileInfo) bool {
	x, ok := a.(fileInfo)
	y, ok2 := b.(fileInfo)
	if ok && ok2 {
		return x.hash == y.hash
	}
	return os.SameFile(a, b)
}

func (w *walker) read(name string) error {
	if !w.wanted(name) {
		return nil
	}
	if len(w.out) == maxFiles {
		return &ParseError{File: name, Message: fmt.Sprintf("more than %d files in one Application; split it", maxFiles)}
	}
	data, err := fs.ReadFile(w.tree, name)
	if err != nil {
		return err
	}
	if w.total += int64(len(data)); w.total > maxTotalBytes {
		return &ParseError{File: name, Message: fmt.Sprintf("the Application's files are larger than %d MiB together; split it", maxTotalBytes>>20)}
	}
	w.out = append(w.out, File{Path: name, Data: data})
	return nil
}

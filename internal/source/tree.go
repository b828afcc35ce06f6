package source

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// maxLinks bounds how many symbolic links one path may go through, like a file system's own bound.
const maxLinks = 16

// treeReader reads folders of one commit. Every path in it is looked up in the commit's own trees, so there is nowhere to escape to; a
// symbolic link that points out of the repository is an error, because what it means on the author's machine is not in Git.
type treeReader struct {
	objects storer.EncodedObjectStorer
	root    *object.Tree
	commit  string
	repo    string

	files []File
	total int64
	// chart says that the folder is a Helm chart, of which every file may be needed.
	chart bool
	// open are the folders between the root of the walk and where it is, to notice links that lead back into one of them.
	open []plumbing.Hash
}

// filesAt returns the files below dir that plain mode reads, sorted by path, hidden files and folders left out. With them come files that say
// the folder is not plain, such as kustomization.yaml. Of a Helm chart it returns every file.
func filesAt(objects storer.EncodedObjectStorer, repo string, commit plumbing.Hash, dir string) ([]File, error) {
	c, err := object.GetCommit(objects, commit)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit, err)
	}
	root, err := object.GetTree(objects, c.TreeHash)
	if err != nil {
		return nil, fmt.Errorf("tree of commit %s: %w", commit, err)
	}
	r := treeReader{objects: objects, root: root, commit: shortHash(commit.String()), repo: repo}
	clean, err := cleanPath(dir)
	if err != nil {
		return nil, err
	}
	e, at, err := r.lookup(clean, 0)
	switch {
	case err != nil:
		return nil, err
	case e == nil:
		return nil, failf(PathNotFound, "path %q does not exist in commit %s of %s; %s", dir, r.commit, r.repo, r.suggest(clean))
	case e.Mode != filemode.Dir:
		return nil, failf(PathNotFound, "path %q is a file in commit %s of %s; spec.source.path must be a folder", dir, r.commit, r.repo)
	}
	if chart, _, err := r.lookup(path.Join(at, ChartFile), 0); err != nil {
		return nil, err
	} else if chart != nil {
		r.chart = chart.Mode.IsFile()
	}
	if err := r.walk(e.Hash, at); err != nil {
		return nil, err
	}
	sort.Slice(r.files, func(i, j int) bool { return r.files[i].Path < r.files[j].Path })
	return r.files, nil
}

// cleanPath brings spec.source.path to the form "a/b", or "" for the root.
func cleanPath(p string) (string, error) {
	if slices.Contains(strings.Split(p, "/"), "..") {
		return "", failf(InvalidSource, "path %q: .. is not allowed; spec.source.path is relative to the repository's root", p)
	}
	if strings.ContainsRune(p, 0) {
		return "", failf(InvalidSource, "path %q holds a null character", p)
	}
	return strings.TrimPrefix(path.Clean("/"+p), "/"), nil
}

// suggest says what is there instead of a missing path.
func (r *treeReader) suggest(p string) string {
	for p != "" {
		p = strings.TrimPrefix(path.Dir("/"+p), "/")
		e, _, err := r.lookup(p, 0)
		if err != nil || e == nil || e.Mode != filemode.Dir {
			continue
		}
		t, err := object.GetTree(r.objects, e.Hash)
		if err != nil {
			continue
		}
		var names []string
		for _, e := range t.Entries {
			if e.Mode == filemode.Dir && !strings.HasPrefix(e.Name, ".") && len(names) < 10 {
				names = append(names, path.Join(p, e.Name))
			}
		}
		if len(names) > 0 {
			return "folders there: " + strings.Join(names, ", ")
		}
	}
	return "there are no folders in it"
}

// lookup finds the entry at a clean path, following symbolic links, and says where it really is. A nil entry does not exist.
func (r *treeReader) lookup(p string, links int) (*object.TreeEntry, string, error) {
	at := ""
	entry := &object.TreeEntry{Mode: filemode.Dir, Hash: r.root.Hash}
	parts := strings.Split(p, "/")
	if p == "" {
		parts = nil
	}
	for i, name := range parts {
		if entry.Mode != filemode.Dir {
			return nil, "", nil
		}
		t, err := object.GetTree(r.objects, entry.Hash)
		if err != nil {
			return nil, "", fmt.Errorf("tree %s: %w", at, err)
		}
		n := slices.IndexFunc(t.Entries, func(e object.TreeEntry) bool { return e.Name == name })
		if n < 0 {
			return nil, "", nil
		}
		entry, at = &t.Entries[n], path.Join(at, name)
		if entry.Mode == filemode.Symlink {
			target, err := r.target(entry, at, links)
			if err != nil {
				return nil, "", err
			}
			return r.lookup(path.Join(append([]string{target}, parts[i+1:]...)...), links+1)
		}
	}
	return entry, at, nil
}

// target returns the path, from the repository's root, that the link at a path points to.
func (r *treeReader) target(link *object.TreeEntry, at string, links int) (string, error) {
	if links >= maxLinks {
		return "", &ParseError{File: at, Message: fmt.Sprintf("more than %d symbolic links in a row; do they lead in a circle?", maxLinks)}
	}
	text, err := r.blob(link.Hash, at, 4096)
	if err != nil {
		return "", err
	}
	to := string(text)
	joined := path.Join(path.Dir(at), to)
	if path.IsAbs(to) || joined == ".." || strings.HasPrefix(joined, "../") {
		return "", &ParseError{File: at, Message: fmt.Sprintf("symbolic link to %q, outside of the repository; put the file itself into Git", to)}
	}
	if joined == "." {
		joined = ""
	}
	return joined, nil
}

func (r *treeReader) walk(tree plumbing.Hash, at string) error {
	if slices.Contains(r.open, tree) {
		return &ParseError{File: at, Message: "a symbolic link leads back into a folder that it lies in"}
	}
	r.open = append(r.open, tree)
	defer func() { r.open = r.open[:len(r.open)-1] }()
	t, err := object.GetTree(r.objects, tree)
	if err != nil {
		return fmt.Errorf("tree %s: %w", at, err)
	}
	for _, e := range t.Entries {
		name := path.Join(at, e.Name)
		if strings.HasPrefix(e.Name, ".") {
			continue
		}
		if e.Mode == filemode.Symlink {
			to, err := r.follow(&e, name)
			if err != nil {
				return err
			}
			if to == nil {
				continue
			}
			e = *to
		}
		switch e.Mode {
		case filemode.Dir:
			if err := r.walk(e.Hash, name); err != nil {
				return err
			}
		case filemode.Submodule:
			return &ParseError{File: name, Message: "a submodule; its files are in another repository, so make it an Application of its own"}
		default:
			if err := r.read(e.Hash, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow returns what a link that the walk has met stands for; nil when it is of no interest, such as a dangling link to a text file.
func (r *treeReader) follow(link *object.TreeEntry, name string) (*object.TreeEntry, error) {
	to, err := r.target(link, name, 0)
	if err != nil {
		return nil, err
	}
	e, _, err := r.lookup(to, 1)
	if err != nil {
		return nil, err
	}
	if e == nil && IsManifest(name) {
		return nil, &ParseError{File: name, Message: fmt.Sprintf("symbolic link to %s, which is not in the commit", to)}
	}
	return e, nil
}

func (r *treeReader) read(blob plumbing.Hash, name string) error {
	if !r.chart && !concerns(name) {
		return nil
	}
	if len(r.files) == maxFiles {
		return &ParseError{File: name, Message: fmt.Sprintf("more than %d files in one Application; split it", maxFiles)}
	}
	data, err := r.blob(blob, name, maxFileBytes)
	if err != nil {
		return err
	}
	if r.total += int64(len(data)); r.total > maxTotalBytes {
		return &ParseError{File: name, Message: fmt.Sprintf("the Application's files are larger than %d MiB together; split it", maxTotalBytes>>20)}
	}
	r.files = append(r.files, File{Path: name, Data: data})
	return nil
}

func (r *treeReader) blob(h plumbing.Hash, name string, limit int64) ([]byte, error) {
	// The size is asked for first: getting the object would decompress all of it into memory.
	size, err := r.objects.EncodedObjectSize(h)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	if size > limit {
		return nil, &ParseError{File: name, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", size, limit)}
	}
	b, err := object.GetBlob(r.objects, h)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	rd, err := b.Reader()
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(rd, limit+1))
	if cerr := rd.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	if int64(len(data)) != size {
		return nil, errors.New("file " + name + ": shorter in the store than it says")
	}
	return data, nil
}

func shortHash(h string) string {
	if len(h) > 12 {
		return h[:12]
	}
	return h
}

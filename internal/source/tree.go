package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// maxLinks bounds how many symbolic links one path may go through, like a file system's own bound.
const maxLinks = 16

// Tree is the tree of one commit as a read-only file system. Every path in it is looked up in the commit's own trees, so there is nowhere to escape to;
// a symbolic link that points out of the repository is an error, because what it means on the author's machine is not in Git.
//
// A Tree notes what it was asked for: two commits in which all of that is the same render to the same objects. It is safe for concurrent use.
type Tree struct {
	repo    *repository
	objects storer.EncodedObjectStorer
	root    plumbing.Hash
	commit  string
	// within is the path of a submodule in the tree that it belongs to; empty for that tree.
	within string
	// module returns the tree of a submodule; nil when submodules are not read.
	module func(at string, commit plumbing.Hash) (*Tree, error)

	mu      sync.Mutex
	inputs  Inputs
	damaged error
}

// Inputs are the paths that a rendering depended on, with the hashes of what was there; a zero hash is for nothing.
type Inputs map[string]plumbing.Hash

var (
	_ fs.ReadDirFS  = (*Tree)(nil)
	_ fs.ReadFileFS = (*Tree)(nil)
	_ fs.StatFS     = (*Tree)(nil)
)

// tree makes the Tree of a commit that the store holds.
func (r *repository) tree(commit plumbing.Hash) (*Tree, error) {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.opened(); err != nil {
		return nil, err
	}
	if !s.indexed(commit) {
		return nil, fmt.Errorf("commit %s is not in the store", commit)
	}
	c, err := object.GetCommit(s.git, commit)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit, err)
	}
	return &Tree{repo: r, objects: s.git, root: c.TreeHash, commit: commit.String(), inputs: Inputs{}}, nil
}

// String names the tree in messages.
func (t *Tree) String() string {
	return fmt.Sprintf("commit %s of %s", shortHash(t.commit), t.repo.name)
}

// Inputs returns what was asked for so far.
func (t *Tree) Inputs() Inputs {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(Inputs, len(t.inputs))
	for p, h := range t.inputs {
		if !covered(t.inputs, p) {
			out[p] = h
		}
	}
	return out
}

// covered says whether a folder above the path is noted, and the path's own note therefore says nothing new.
func covered(in Inputs, p string) bool {
	for p != "" {
		p = parent(p)
		if h, ok := in[p]; ok && !h.IsZero() {
			return true
		}
	}
	return false
}

// parent is the folder of a clean path; that of the first level is "".
func parent(p string) string { return strings.TrimPrefix(path.Dir("/"+p), "/") }

// same says whether what in names is in this tree just as it was.
func (t *Tree) same(in Inputs) (bool, error) {
	for p, want := range in {
		n, err := t.lookup(p, 0)
		var pe *ParseError
		switch {
		case errors.As(err, &pe):
			return false, nil
		case err != nil:
			return false, err
		case n == nil && !want.IsZero(), n != nil && n.Hash != want:
			return false, nil
		}
	}
	return true, nil
}

func (t *Tree) note(p string, h plumbing.Hash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inputs[p] = h
}

// fail notes errors that mean damage to the store.
func (t *Tree) fail(err error) error {
	if unreadable(err) && !errors.Is(err, fs.ErrNotExist) {
		t.mu.Lock()
		t.damaged = err
		t.mu.Unlock()
	}
	return err
}

// Stat follows symbolic links.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return n.tree.info(&n.TreeEntry), nil
}

// ReadDir returns the entries of a folder, symbolic links as such.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if n.Mode != filemode.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries, err := n.tree.entries(n.Hash)
	if err != nil {
		return nil, t.fail(err)
	}
	out := make([]fs.DirEntry, 0, len(entries))
	for i := range entries {
		out = append(out, fs.FileInfoToDirEntry(n.tree.info(&entries[i])))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// ReadFile returns a file's content; one that is larger than an Application's files may be is a *ParseError.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if !n.Mode.IsFile() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a file")}
	}
	data, err := n.tree.blob(n.Hash, n.at, maxFileBytes)
	return data, t.fail(err)
}

// Open is for callers that know nothing but fs.FS.
func (t *Tree) Open(name string) (fs.File, error) {
	info, err := t.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		entries, err := t.ReadDir(name)
		return &openDir{info: info, entries: entries}, err
	}
	data, err := t.ReadFile(name)
	return &openFile{info: info, Reader: strings.NewReader(string(data))}, err
}

// node is what a path leads to.
type node struct {
	object.TreeEntry
	// tree holds it: the one that was asked, or that of a submodule.
	tree *Tree
	// at is where it really lies in that tree.
	at string
}

// find looks a path up and notes that it was asked for.
func (t *Tree) find(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		name = ""
	}
	n, err := t.lookup(name, 0)
	if err != nil {
		return nil, t.fail(err)
	}
	if n == nil {
		t.note(name, plumbing.ZeroHash)
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	t.note(name, n.Hash)
	if n.tree == t {
		t.note(n.at, n.Hash) // elsewhere, if a link led there
	}
	return n, nil
}

// lookup finds what is at a clean path, following symbolic links; nil for nothing.
func (t *Tree) lookup(p string, links int) (*node, error) {
	n := &node{TreeEntry: object.TreeEntry{Mode: filemode.Dir, Hash: t.root}, tree: t}
	parts := strings.Split(p, "/")
	if p == "" {
		parts = nil
	}
	for i, name := range parts {
		if n.Mode != filemode.Dir {
			return nil, nil
		}
		entries, err := t.entries(n.Hash)
		if err != nil {
			return nil, fmt.Errorf("tree %s: %w", n.at, err)
		}
		found := slices.IndexFunc(entries, func(e object.TreeEntry) bool { return e.Name == name })
		if found < 0 {
			return nil, nil
		}
		n.TreeEntry, n.at = entries[found], path.Join(n.at, name)
		rest := path.Join(parts[i+1:]...)
		switch {
		case n.Mode == filemode.Symlink:
			target, err := t.target(n, links)
			if err != nil {
				return nil, err
			}
			return t.lookup(path.Join(target, rest), links+1)
		case n.Mode == filemode.Submodule && t.module != nil:
			m, err := t.module(path.Join(t.within, n.at), n.Hash)
			if err != nil {
				return nil, err
			}
			return m.lookup(rest, links)
		}
	}
	return n, nil
}

// target returns the path, from the repository's root, that the link at a path points to.
func (t *Tree) target(link *node, links int) (string, error) {
	if links >= maxLinks {
		return "", &ParseError{File: path.Join(t.within, link.at), Message: fmt.Sprintf("more than %d symbolic links in a row; do they lead in a circle?", maxLinks)}
	}
	text, err := t.blob(link.Hash, link.at, 4096)
	if err != nil {
		return "", err
	}
	to := string(text)
	joined := path.Join(path.Dir(link.at), to)
	if path.IsAbs(to) || joined == ".." || strings.HasPrefix(joined, "../") {
		return "", &ParseError{File: path.Join(t.within, link.at), Message: fmt.Sprintf("symbolic link to %q, outside of the repository; put the file itself into Git", to)}
	}
	if joined == "." {
		joined = ""
	}
	return joined, nil
}

// entries returns a tree's entries, which are shared and must not be changed.
func (t *Tree) entries(h plumbing.Hash) ([]object.TreeEntry, error) {
	s := t.repo.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.trees[h]; ok {
		return e, nil
	}
	tree, err := object.GetTree(t.objects, h)
	if err != nil {
		return nil, err
	}
	if s.trees == nil || s.cached+len(tree.Entries) > maxCachedEntries {
		s.trees, s.cached = map[plumbing.Hash][]object.TreeEntry{}, 0
	}
	s.trees[h] = tree.Entries
	s.cached += len(tree.Entries)
	return tree.Entries, nil
}

func (t *Tree) blob(h plumbing.Hash, name string, limit int64) ([]byte, error) {
	t.repo.store.mu.Lock()
	defer t.repo.store.mu.Unlock()
	name = path.Join(t.within, name)
	// The size is asked for first: getting the object would decompress all of it into memory.
	size, err := t.objects.EncodedObjectSize(h)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	if size > limit {
		return nil, &ParseError{File: name, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", size, limit)}
	}
	b, err := object.GetBlob(t.objects, h)
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

// info describes an entry. The size of a file is not asked for: nobody wants it, and it costs a look into the pack.
func (t *Tree) info(e *object.TreeEntry) fs.FileInfo {
	mode := fs.FileMode(0o444)
	switch e.Mode {
	case filemode.Dir:
		mode = fs.ModeDir | 0o555
	case filemode.Symlink:
		mode = fs.ModeSymlink | 0o777
	case filemode.Submodule:
		if mode = fs.ModeIrregular; t.module != nil {
			mode = fs.ModeDir | 0o555
		}
	}
	return fileInfo{name: e.Name, mode: mode, hash: e.Hash}
}

type fileInfo struct {
	name string
	mode fs.FileMode
	hash plumbing.Hash
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return 0 }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }

// Sys is the object's hash, by which two folders can be told apart.
func (i fileInfo) Sys() any { return i.hash }

type openFile struct {
	info fs.FileInfo
	*strings.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    fs.FileInfo
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.Name(), Err: errors.New("is a directory")}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		out := d.entries
		d.entries = nil
		return out, nil
	}
	if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	out := d.entries[:n]
	d.entries = d.entries[n:]
	return out, nil
}

// Read calls f with the tree of a commit that Head has returned before. A commit that the store has lost, or holds damaged, is fetched again, and f then
// called again.
func (g *Git) Read(ctx context.Context, r Request, commit string, f func(*Tree) error) error {
	if !plumbing.IsHash(commit) {
		return failf(InvalidSource, "%q is not a full commit hash", clip(commit))
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		t, err := g.tree(ctx, r, plumbing.NewHash(commit))
		if err != nil {
			return err
		}
		if r.Submodules {
			t.module = g.modules(ctx, r, t)
		}
		err = f(t)
		t.mu.Lock()
		damaged := t.damaged
		t.mu.Unlock()
		switch {
		case damaged == nil:
			return err
		case attempt == 2:
			return wrapf(Unreachable, damaged, "%s: what the server sent of commit %s is not whole", t.repo.name, shortHash(commit))
		}
		outside(ctx, r.URL, func(context.Context) { err = t.repo.discard(t) })
		if err != nil {
			return err
		}
	}
}

// tree returns the tree of a commit, fetched if the store does not have it.
func (g *Git) tree(ctx context.Context, r Request, commit plumbing.Hash) (t *Tree, err error) {
	repo, _, err := g.find(r)
	if err != nil {
		return nil, err
	}
	if t, err = repo.tree(commit); err == nil {
		return t, nil
	}
	outside(ctx, r.URL, func(ctx context.Context) { t, err = g.fetched(ctx, r, commit) })
	return t, err
}

func (g *Git) fetched(ctx context.Context, r Request, commit plumbing.Hash) (*Tree, error) {
	repo, err := g.lock(r)
	if err != nil {
		return nil, err
	}
	defer repo.mu.Unlock()
	if err := repo.store.open(); err != nil {
		return nil, err
	}
	if t, err := repo.tree(commit); err == nil {
		return t, nil // another has fetched it meanwhile
	}
	defer repo.remote.close()
	w, err := repo.look(ctx, refOf(commit))
	if err != nil {
		return nil, err
	}
	if err := repo.ensure(ctx, w); err != nil {
		return nil, err
	}
	return repo.tree(commit)
}

// discard empties the store that a damaged tree was read from, unless that was replaced meanwhile.
func (r *repository) discard(t *Tree) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.git == nil || s.git != t.objects {
		return nil
	}
	return s.reset()
}

// Unchanged says whether everything that a rendering depended on is in a commit just as it was, so that it need not be rendered again.
func (g *Git) Unchanged(ctx context.Context, r Request, commit string, in Inputs) (bool, error) {
	if len(in) == 0 {
		return false, nil
	}
	same := false
	err := g.Read(ctx, r, commit, func(t *Tree) error {
		var err error
		same, err = t.same(in)
		return t.fail(err)
	})
	return same && err == nil, err
}

func shortHash(h string) string {
	if len(h) > 12 {
		return h[:12]
	}
	return h
}

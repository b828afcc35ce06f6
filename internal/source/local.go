package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// folder is a repository in a folder of this machine, for file URLs. Its objects are copied straight from its object store: no git binary, no
// protocol. They are copied and not borrowed, so that the last good commit stays readable when the folder goes away.
type folder struct {
	repo string
	path string
	git  *filesystem.Storage
}

func (f *folder) list(context.Context) (listing, error) {
	dir := f.path
	if st, err := os.Stat(filepath.Join(dir, ".git")); err == nil && st.IsDir() {
		dir = filepath.Join(dir, ".git")
	}
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		switch _, derr := os.Stat(f.path); {
		case errors.Is(derr, fs.ErrNotExist):
			return listing{}, failf(NotFound, "%s: there is no folder %s on the control plane's host", f.repo, f.path)
		case errors.Is(err, fs.ErrPermission) || errors.Is(derr, fs.ErrPermission):
			return listing{}, failf(Unauthorized, "%s: no permission to read %s; gitopsd's user must be able to", f.repo, f.path)
		}
		return listing{}, failf(NotFound, "%s: the folder %s is no Git repository", f.repo, f.path)
	}
	f.git = filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRU(objectCacheBytes), filesystem.Options{})
	iter, err := f.git.IterReferences()
	if err != nil {
		return listing{}, wrapf(Unreachable, err, "%s: cannot read its refs", f.repo)
	}
	l := listing{refs: map[string]plumbing.Hash{}, peeled: map[string]plumbing.Hash{}}
	err = iter.ForEach(func(r *plumbing.Reference) error {
		if r.Type() != plumbing.HashReference || r.Name() == plumbing.HEAD {
			return nil
		}
		l.refs[r.Name().String()] = r.Hash()
		if r.Name().IsTag() {
			if t, err := object.GetTag(f.git, r.Hash()); err == nil && t.TargetType == plumbing.CommitObject {
				l.peeled[r.Name().String()] = t.Target
			}
		}
		return nil
	})
	if err != nil {
		return listing{}, wrapf(Unreachable, err, "%s: cannot read its refs", f.repo)
	}
	if head, err := storer.ResolveReference(f.git, plumbing.HEAD); err == nil {
		l.head = head.Hash()
	}
	if len(l.refs) == 0 {
		return listing{}, explain(f.repo, transport.ErrEmptyRemoteRepository)
	}
	return l, nil
}

func (f *folder) close() { f.git = nil }

func (f *folder) fetch(ctx context.Context, s *store, w wanted) error {
	missing, err := reachable(ctx, f.git, w.commit, s.holds)
	if errors.Is(err, plumbing.ErrObjectNotFound) && w.unlisted {
		return failf(RefNotFound, "%s has no commit %s", f.repo, w.commit)
	}
	if err != nil {
		return wrapf(Unreachable, err, "%s: cannot read commit %s; is a push or a repack going on?", f.repo, shortHash(w.commit.String()))
	}
	if w.object != w.commit && !s.holds(w.object) {
		missing = append(missing, w.object) // the tag
	}
	if len(missing) > 0 {
		if _, err := writePack(s, f.git, missing); err != nil {
			return wrapf(StoreFailed, err, "cannot copy %s into the Git store %s", f.repo, s.dir)
		}
	}
	return s.add(storedCommit{Hash: w.commit.String(), Shallow: true})
}

// reachable lists the commit and everything in its tree, without its history, leaving out whole subtrees that are known.
func reachable(ctx context.Context, objects storer.EncodedObjectStorer, commit plumbing.Hash, known func(plumbing.Hash) bool) ([]plumbing.Hash, error) {
	c, err := object.GetCommit(objects, commit)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit, err)
	}
	var out []plumbing.Hash
	seen := map[plumbing.Hash]bool{}
	take := func(h plumbing.Hash) bool {
		if seen[h] || known(h) {
			return false
		}
		seen[h] = true
		out = append(out, h)
		return true
	}
	take(commit)
	var tree func(h plumbing.Hash) error
	tree = func(h plumbing.Hash) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !take(h) {
			return nil
		}
		t, err := object.GetTree(objects, h)
		if err != nil {
			return fmt.Errorf("tree %s: %w", h, err)
		}
		for _, e := range t.Entries {
			switch e.Mode {
			case filemode.Dir:
				if err := tree(e.Hash); err != nil {
					return err
				}
			case filemode.Submodule:
			default:
				take(e.Hash)
			}
		}
		return nil
	}
	if err := tree(c.TreeHash); err != nil {
		return nil, err
	}
	return out, nil
}

// writePack writes objects of one store into another as one pack, and returns the hash in the pack's name.
func writePack(to storer.PackfileWriter, from storer.EncodedObjectStorer, objects []plumbing.Hash) (pack plumbing.Hash, err error) {
	w, err := to.PackfileWriter()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer func() {
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}()
	return packfile.NewEncoder(w, from, false).Encode(objects, 0)
}

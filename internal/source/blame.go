package source

import (
	"context"
	"errors"
	"fmt"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Blame says of each line of files, as a commit has them, which commit changed it last. Files that the commit does not have are left out. It fetches the commit's whole history into the store, which other looks
// do not, so it is for a store that is thrown away afterwards.
func (g *Git) Blame(ctx context.Context, r Request, commit string, files []string) (map[string][]Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	repo, err := g.lock(r)
	if err != nil {
		return nil, err
	}
	defer repo.mu.Unlock()
	objects, err := repo.history(ctx, commit)
	if err != nil {
		return nil, err
	}
	c, err := object.GetCommit(objects, plumbing.NewHash(commit))
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit, err)
	}
	repo.store.mu.Lock()
	defer repo.store.mu.Unlock()
	known := map[plumbing.Hash]Commit{}
	out := make(map[string][]Commit, len(files))
	for _, file := range files {
		blamed, err := gogit.Blame(c, file)
		if errors.Is(err, object.ErrFileNotFound) {
			continue // it is of a remote base, or was made while rendering
		}
		if err != nil {
			return nil, fmt.Errorf("history of %s up to commit %s: %w", file, shortHash(commit), err)
		}
		for _, l := range blamed.Lines {
			who, ok := known[l.Hash]
			if !ok {
				if who, err = readCommit(objects, l.Hash); err != nil {
					return nil, err
				}
				known[l.Hash] = who
			}
			out[file] = append(out[file], who)
		}
	}
	return out, nil
}

// history has a commit with all its ancestors at hand. A folder's need no copy.
func (r *repository) history(ctx context.Context, commit string) (storer.EncodedObjectStorer, error) {
	if !plumbing.IsHash(commit) {
		return nil, failf(InvalidSource, "%q is not a full commit hash", clip(commit))
	}
	if err := r.store.open(); err != nil {
		return nil, err
	}
	w, err := r.look(ctx, v1alpha1.Ref{Commit: commit})
	if err != nil {
		return nil, err
	}
	if f, ok := r.remote.(*folder); ok {
		return f.git, nil
	}
	defer r.remote.close()
	// The fetch starts from an empty store: what the server is told is there already, it sends without its past.
	if err := r.store.empty(); err != nil {
		return nil, err
	}
	w.history = true
	if err := r.remote.fetch(ctx, r.store, w); err != nil {
		return nil, explain(r.name, err)
	}
	return r.store.git, nil
}

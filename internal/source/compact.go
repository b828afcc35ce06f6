package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// compact replaces the store's packs by one that holds just the commits of the index. The new pack is complete and in place before an old one
// is removed, so that a crash at any point leaves a store that can be read.
func (s *store) compact(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[plumbing.Hash]bool{}
	var all []plumbing.Hash
	for _, c := range s.index.Commits {
		objects, err := reachable(ctx, s.git, plumbing.NewHash(c.Hash), func(h plumbing.Hash) bool { return seen[h] })
		if err != nil {
			return fmt.Errorf("compacting the Git store %s: %w", s.dir, err)
		}
		for _, h := range objects {
			seen[h] = true
		}
		all = append(all, objects...)
	}
	// Their history, where it was fetched at all, is not kept; the server has to know.
	for i := range s.index.Commits {
		s.index.Commits[i].Shallow = true
	}
	if err := s.save(); err != nil {
		return err
	}
	if len(all) == 0 {
		return nil
	}
	pack, err := writePack(s.git, s.git, all)
	if err != nil {
		return fmt.Errorf("compacting the Git store %s: %w", s.dir, err)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "pack-*"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.Contains(filepath.Base(f), pack.String()) {
			continue
		}
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	s.reopen()
	return nil
}

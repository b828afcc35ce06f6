package source

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// Stored is a repository of which commits are on disk.
type Stored struct {
	// URL has no credentials.
	URL string
	// Commit is the one that was fetched last.
	Commit string
	// Fetched is when.
	Fetched time.Time
}

// ListStores reads what stores there are below root, without opening them: for somebody who wants to know what was there when nobody can be asked. What cannot be
// read is left out.
func ListStores(root string) []Stored {
	files, err := filepath.Glob(filepath.Join(root, "*.git", indexFile))
	if err != nil {
		return nil // only for a bad pattern, which a directory's name may be
	}
	var out []Stored
	for _, f := range files {
		var idx storeIndex
		text, err := os.ReadFile(f)
		if err != nil || json.Unmarshal(text, &idx) != nil {
			continue
		}
		s := Stored{URL: idx.URL}
		if n := len(idx.Commits); n > 0 {
			s.Commit = idx.Commits[n-1].Hash
		}
		if st, err := os.Stat(f); err == nil {
			s.Fetched = st.ModTime()
		}
		out = append(out, s)
	}
	return out
}

package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// store is a bare repository on disk that caches what was fetched from one URL. A stock git can read it.
//
// What makes it safe to kill the process at any instruction: packs become visible by a rename, and the index, a small JSON file that is
// also only ever renamed into place, is written after the pack. A commit is used only when the index names it, so a half-written fetch is
// invisible. Whatever else is wrong with the directory shows as a read error, upon which the store is emptied and fetched again.
//
// A store is safe for concurrent use. Its lock is held for as long as this machine takes and never while a host is waited for, so that what is here can be read during a
// fetch, however slow that is. Only one at a time writes to it: whoever has its repository's lock.
type store struct {
	dir, url string

	mu    sync.Mutex
	index storeIndex
	// git is nil while the store is closed.
	git *filesystem.Storage
	// trees are folders that were read lately, with all commits' mixed: a hash means the same everywhere. cached counts their entries.
	trees  map[plumbing.Hash][]object.TreeEntry
	cached int
}

// storeIndex lists the commits whose trees the store holds whole, oldest first.
type storeIndex struct {
	URL     string         `json:"url"`
	Commits []storedCommit `json:"commits"`
}

type storedCommit struct {
	Hash string `json:"hash"`
	// Shallow says that the commit's parents were not fetched. The server must be told, or it would send too little.
	Shallow bool `json:"shallow,omitempty"`
}

const (
	indexFile = "gitopsd.json"
	// keptCommits bounds how many commits a store keeps, and thereby what is told to the server and what compaction keeps.
	keptCommits = 32
	// maxPacks is when a store is compacted: every fetch adds a pack, and every read looks into each.
	maxPacks = 48
	// objectCacheBytes is the memory for decompressed objects while a store is open.
	objectCacheBytes = 4 << 20
	// maxCachedEntries bounds the decoded folders that a store keeps, at about 100 bytes each. A thousand Applications of one commit look up the same ones.
	maxCachedEntries = 20_000
)

// unsafeInName are the characters of a URL that directory names do without.
var unsafeInName = regexp.MustCompile(`[^a-zA-Z0-9.]+`)

// storeDir names the directory for a URL and a Secret: readable for people, and never the same for two.
func storeDir(root, repoURL, secret string) string {
	sum := sha256.Sum256([]byte(repoURL + "\x00" + secret))
	name := strings.Trim(unsafeInName.ReplaceAllString(Canonical(repoURL), "-"), "-.")
	if len(name) > 80 {
		name = name[len(name)-80:]
	}
	return filepath.Join(root, name+"-"+hex.EncodeToString(sum[:6])+".git")
}

// open opens or makes the store, if it is not open. A directory in an unusable state is emptied.
func (s *store) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened()
}

// opened is open for who has the lock.
func (s *store) opened() error {
	if s.git != nil || s.load() == nil {
		return nil
	}
	return s.reset()
}

// close gives back the memory that an open store takes.
func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.git, s.trees, s.cached = nil, nil, 0
}

// empty drops all that is in the store.
func (s *store) empty() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reset()
}

func (s *store) load() error {
	b, err := os.ReadFile(filepath.Join(s.dir, indexFile))
	if err != nil {
		return err
	}
	var idx storeIndex
	if err := json.Unmarshal(b, &idx); err != nil {
		return err
	}
	if idx.URL != Redact(s.url) {
		return fmt.Errorf("the store belongs to %s", idx.URL)
	}
	for _, c := range idx.Commits {
		if !plumbing.IsHash(c.Hash) {
			return fmt.Errorf("the index names %q", c.Hash)
		}
	}
	// What an interrupted fetch was writing is of no use to anybody.
	leftovers, err := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "tmp_*"))
	if err != nil {
		return err
	}
	for _, f := range leftovers {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	s.index = idx
	s.reopen()
	return nil
}

func (s *store) reset() error {
	s.trees, s.cached = nil, 0
	if err := s.begin(); err != nil {
		return s.unwritable(err)
	}
	return nil
}

func (s *store) unwritable(err error) error {
	return wrapf(StoreFailed, err, "cannot write the Git store %s; make room or fix the permissions", s.dir)
}

// begin makes the store's files as they are before the first fetch.
func (s *store) begin() error {
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	for _, d := range []string{"objects/pack", "objects/info", "refs/heads", "refs/tags"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o700); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"HEAD":   "ref: refs/heads/main\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	s.index = storeIndex{URL: Redact(s.url)}
	s.reopen()
	return s.save()
}

// reopen forgets what was read of the store's files.
func (s *store) reopen() {
	s.git = filesystem.NewStorageWithOptions(osfs.New(s.dir, osfs.WithBoundOS()), cache.NewObjectLRU(objectCacheBytes), filesystem.Options{})
}

// has says whether the commit's tree is here whole.
func (s *store) has(commit plumbing.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.indexed(commit)
}

func (s *store) indexed(commit plumbing.Hash) bool {
	return slices.ContainsFunc(s.index.Commits, func(c storedCommit) bool { return c.Hash == commit.String() })
}

// commit reads a commit whose tree is here whole.
func (s *store) commit(h plumbing.Hash) (Commit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.indexed(h) {
		return Commit{}, fmt.Errorf("commit %s is not in the store", h)
	}
	return readCommit(s.git, h)
}

// holds says whether one object is here.
func (s *store) holds(h plumbing.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.git.HasEncodedObject(h) == nil
}

// raw is an object as Git hashes it, without its header.
func (s *store) raw(kind plumbing.ObjectType, h plumbing.Hash) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.git.EncodedObject(kind, h)
	if err != nil {
		return nil, err
	}
	rd, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	return io.ReadAll(io.LimitReader(rd, maxFileBytes))
}

// commits lists what is here whole, oldest first.
func (s *store) commits() []storedCommit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.index.Commits)
}

// PackfileWriter begins a pack, which belongs to the store once it is closed.
func (s *store) PackfileWriter() (io.WriteCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, err := s.git.PackfileWriter()
	if err != nil {
		return nil, err
	}
	return pack{w, s}, nil
}

// pack is one that is being received.
type pack struct {
	io.WriteCloser
	store *store
}

func (p pack) Close() error {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	return p.WriteCloser.Close()
}

// add records a commit whose objects have just been written. The commit moves to the end if it was here already.
func (s *store) add(c storedCommit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(s.index.Commits), func(k storedCommit) bool { return k.Hash == c.Hash })
	kept = append(kept, c)
	if n := len(kept) - keptCommits; n > 0 {
		kept = kept[n:]
	}
	s.index.Commits = kept
	if err := s.save(); err != nil {
		return s.unwritable(err)
	}
	return nil
}

// save replaces the index and, for people with a stock git, the list of shallow commits.
func (s *store) save() error {
	var shallow strings.Builder
	for _, c := range s.index.Commits {
		if c.Shallow {
			shallow.WriteString(c.Hash + "\n")
		}
	}
	if err := replaceFile(filepath.Join(s.dir, "shallow"), []byte(shallow.String())); err != nil {
		return err
	}
	b, err := json.MarshalIndent(s.index, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.dir, indexFile), b)
}

func replaceFile(name string, data []byte) error {
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// packs counts the packs in the store.
func (s *store) packs() int {
	names, err := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "*.pack"))
	if err != nil {
		return 0
	}
	return len(names)
}

// unreadable says that an error means damage to the store rather than something that is truly not in the commit.
func unreadable(err error) bool {
	var e *Error
	var p *ParseError
	return err != nil && !errors.As(err, &e) && !errors.As(err, &p) && !errors.Is(err, fs.ErrPermission)
}

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// Git is every repository that Applications use. Applications that share a URL and a Secret share one store, one connection and, where
// their wishes coincide, one fetch. It is safe for concurrent use.
type Git struct {
	root string

	mu    sync.Mutex
	repos map[repoKey]*repository
	// quiet are hosts that want to be left alone, and until when.
	quiet map[string]time.Time
	// recent are the repositories used last, the latest first. Only theirs stay open: an open store holds its packs' indexes in memory.
	recent []*repository
}

// openStores is how many stores stay open between uses.
const openStores = 4

// repoKey keeps Applications with different Secrets apart: what one may read is not for the other. It is the Secret's name that counts and
// not its content, so that a token which is renewed every hour does not cost a fetch from nothing every hour.
type repoKey struct{ url, secret string }

// New makes a Git that keeps its stores below dir.
func New(dir string) *Git { return &Git{root: dir, repos: map[repoKey]*repository{}} }

// Request names a repository, what of it is wanted, and how to get in.
type Request struct {
	URL         string
	Ref         v1alpha1.Ref
	Credentials Credentials
	// Submodules reads the folders that are submodules.
	Submodules bool
	// Verify wants the commit, the tag that Ref names, or both signed; nil wants nothing.
	Verify *Verification
	// NotBefore is when the caller learned that there may be something new. An answer that the remote gave after it is used again,
	// so that a push that concerns a hundred Applications is one fetch. Zero asks the remote in any case.
	NotBefore time.Time
}

func (r Request) key() repoKey { return repoKey{url: r.URL, secret: r.Credentials.Secret} }

// Commit is a commit as history shows it.
type Commit struct {
	Hash string
	// Subject is the message's first line.
	Subject string
	// Author is "name <email>".
	Author string
	Time   time.Time
	// Signer is who signed it, if that was to be verified.
	Signer string
}

// fetchTimeout bounds one look at a remote; the first fetch of a large repository has to fit in.
const fetchTimeout = 10 * time.Minute

// Head returns the commit at the ref as the remote has it now, and has its tree in the store when it returns. It costs one request
// when the commit is already there, and two when it is not.
func (g *Git) Head(ctx context.Context, r Request) (c Commit, err error) {
	if err := ValidateRef(r.Ref); err != nil {
		return Commit{}, err
	}
	outside(ctx, r.URL, func(ctx context.Context) { c, err = g.head(ctx, r) })
	return c, err
}

// outside calls f, which may wait for the repository's host. It holds the repository's lock for no longer than that: whoever waits for another turn must not hold it.
func outside(ctx context.Context, url string, f func(context.Context)) {
	if strings.HasPrefix(url, "file://") {
		f(ctx)
		return
	}
	reconcile.Await(ctx, f)
}

func (g *Git) head(ctx context.Context, r Request) (Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	repo, err := g.lock(r)
	if err != nil {
		return Commit{}, err
	}
	defer repo.mu.Unlock()
	if err := repo.store.open(); err != nil {
		return Commit{}, err
	}
	host := hostOf(r.URL)
	if err := g.silent(host, repo.name); err != nil && !repo.answers(r) {
		return Commit{}, err
	}
	c, err := repo.head(ctx, r)
	g.heed(host, err)
	return c, err
}

func hostOf(repoURL string) string {
	host, _, _ := strings.Cut(Canonical(repoURL), "/")
	return host
}

// silent is the error for a host that wants to be left alone; nil when it may be asked.
func (g *Git) silent(host, repo string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	until, ok := g.quiet[host]
	wait := time.Until(until)
	if !ok || wait <= 0 {
		delete(g.quiet, host)
		return nil
	}
	return &Error{Reason: RateLimited, Message: fmt.Sprintf("%s: the host wants no request for another %s", repo, wait.Round(time.Second)), RetryAfter: wait}
}

// heed notes what a host said about being asked too often: it counts for all its repositories.
func (g *Git) heed(host string, err error) {
	var e *Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.quiet == nil {
		g.quiet = map[string]time.Time{}
	}
	if until := time.Now().Add(e.RetryAfter); until.After(g.quiet[host]) {
		g.quiet[host] = until
	}
}

// find finds or makes the repository of a request, which nothing is asked of yet.
func (g *Git) find(r Request) (*repository, *transport.Endpoint, error) {
	ep, err := endpoint(r.URL)
	if err != nil {
		return nil, nil, err
	}
	key := r.key()
	g.mu.Lock()
	defer g.mu.Unlock()
	repo, ok := g.repos[key]
	if !ok {
		repo = &repository{name: Redact(r.URL), store: &store{dir: storeDir(g.root, key.url, key.secret), url: r.URL}}
		g.repos[key] = repo
	}
	g.use(repo)
	return repo, ep, nil
}

// lock returns the repository of a request locked, for a look at its remote.
func (g *Git) lock(r Request) (*repository, error) {
	repo, ep, err := g.find(r)
	if err != nil {
		return nil, err
	}
	repo.mu.Lock()
	if repo.remote != nil && repo.fingerprint == r.Credentials.fingerprint() {
		return repo, nil
	}
	if ep.Protocol == "file" {
		repo.remote = &folder{repo: repo.name, path: filepath.Clean(ep.Path)}
	} else {
		t, auth, err := transportFor(ep, r.Credentials)
		if err != nil {
			repo.mu.Unlock()
			return nil, err
		}
		repo.remote = &conversation{repo: repo.name, transport: t, auth: auth, ep: ep}
	}
	repo.fingerprint = r.Credentials.fingerprint()
	repo.listed, repo.listedAt, repo.failed = listing{}, time.Time{}, nil
	return repo, nil
}

// use notes that a repository is used now, and closes the store of the one used longest ago. One that is busy just then stays open until
// it is its turn again.
func (g *Git) use(repo *repository) {
	g.recent = slices.DeleteFunc(g.recent, func(r *repository) bool { return r == repo })
	g.recent = slices.Insert(g.recent, 0, repo)
	if len(g.recent) <= openStores {
		return
	}
	if last := g.recent[len(g.recent)-1]; last.mu.TryLock() {
		last.store.close()
		last.mu.Unlock()
		g.recent = g.recent[:len(g.recent)-1]
	}
}

// Forget drops what is kept for repositories that are not among those in use, on disk too.
func (g *Git) Forget(inUse []Request) error {
	keep := map[repoKey]bool{}
	dirs := map[string]bool{}
	for _, r := range inUse {
		k := r.key()
		keep[k] = true
		dirs[storeDir(g.root, k.url, k.secret)] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, repo := range g.repos {
		if !keep[k] {
			delete(g.repos, k)
			g.recent = slices.DeleteFunc(g.recent, func(r *repository) bool { return r == repo })
		}
	}
	entries, err := os.ReadDir(g.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(g.root, e.Name())
		if !dirs[dir] && strings.HasSuffix(e.Name(), ".git") {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// repository is one URL seen with one set of credentials.
type repository struct {
	name  string
	store *store

	// mu is held for a whole look at the remote: the second of two Applications that want the same finds it there. It guards what follows. Who reads what is here
	// already does without it, for the remote may take its time.
	mu       sync.Mutex
	remote   remote
	listed   listing
	listedAt time.Time
	// failed is why the remote could not be asked the last time, and failedAt when that was; nil after it could.
	failed   error
	failedAt time.Time
	// fingerprint is that of the credentials which remote was made with.
	fingerprint string
}

// answers says whether a request can be answered without asking the remote.
func (r *repository) answers(req Request) bool {
	return req.Ref.Commit != "" && r.store.has(plumbing.NewHash(req.Ref.Commit))
}

func (r *repository) head(ctx context.Context, req Request) (Commit, error) {
	defer r.remote.close()
	if !req.NotBefore.IsZero() && r.failed != nil && r.failedAt.After(req.NotBefore) {
		return Commit{}, r.failed
	}
	if !req.NotBefore.IsZero() && r.listedAt.After(req.NotBefore) {
		if w, err := r.listed.want(r.name, req.Ref); err == nil {
			if c, err := r.store.commit(w.commit); err == nil {
				return r.verified(ctx, req, w, c)
			}
		}
	}
	if r.answers(req) {
		w := wanted{object: plumbing.NewHash(req.Ref.Commit), commit: plumbing.NewHash(req.Ref.Commit)}
		if c, err := r.store.commit(w.commit); err == nil {
			return r.verified(ctx, req, w, c) // a commit never changes, so there is nothing to ask
		}
	}
	w, err := r.look(ctx, req.Ref)
	if err != nil {
		return Commit{}, err
	}
	if err := r.ensure(ctx, w); err != nil {
		return Commit{}, err
	}
	c, err := r.store.commit(w.commit)
	if err != nil {
		return Commit{}, err
	}
	return r.verified(ctx, req, w, c)
}

// look asks the remote for its refs and chooses among them.
func (r *repository) look(ctx context.Context, ref v1alpha1.Ref) (wanted, error) {
	began := time.Now()
	l, err := r.remote.list(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.failed, r.failedAt = err, began
		}
		return wanted{}, err
	}
	r.listed, r.listedAt, r.failed = l, began, nil
	return l.want(r.name, ref)
}

// ensure has the wanted commit in the store; list must have been called. A store that turns out damaged is emptied and filled again.
func (r *repository) ensure(ctx context.Context, w wanted) error {
	if _, err := r.store.commit(w.commit); err == nil {
		return nil
	}
	if r.store.has(w.commit) {
		if err := r.store.empty(); err != nil {
			return err
		}
	}
	err := r.fetch(ctx, w)
	if unreadable(err) && ctx.Err() == nil {
		if err := r.store.empty(); err != nil {
			return err
		}
		// The server may have ended the conversation along with the failed answer.
		r.remote.close()
		if _, err := r.remote.list(ctx); err != nil {
			return err
		}
		err = r.fetch(ctx, w)
	}
	return explain(r.name, err)
}

func (r *repository) fetch(ctx context.Context, w wanted) error {
	if r.store.packs() >= maxPacks {
		if err := r.store.compact(ctx); err != nil {
			return err
		}
	}
	return r.remote.fetch(ctx, r.store, w)
}

// refOf is the ref that means just one commit.
func refOf(h plumbing.Hash) v1alpha1.Ref { return v1alpha1.Ref{Commit: h.String()} }

func readCommit(objects storer.EncodedObjectStorer, h plumbing.Hash) (Commit, error) {
	c, err := object.GetCommit(objects, h)
	if err != nil {
		return Commit{}, fmt.Errorf("commit %s: %w", h, err)
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	return Commit{
		Hash:    h.String(),
		Subject: strings.ToValidUTF8(strings.TrimSpace(subject), "?"),
		Author:  strings.ToValidUTF8(fmt.Sprintf("%s <%s>", c.Author.Name, c.Author.Email), "?"),
		Time:    c.Author.When,
	}, nil
}

// isDiskError tells a store that cannot be written from a remote that cannot be read.
func isDiskError(err error) bool {
	var pe *fs.PathError
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) || errors.As(err, &pe)
}

package source

import (
	"context"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
)

// maxModules bounds how many submodules one reading follows, those of submodules included.
const maxModules = 32

// modules returns the function by which a tree finds its submodules. Each is fetched when something in it is first asked for.
func (g *Git) modules(ctx context.Context, r Request, top *Tree) func(string, plumbing.Hash) (*Tree, error) {
	m := &modules{git: g, ctx: ctx, open: map[string]*Tree{}}
	return m.of(r, top)
}

type modules struct {
	git *Git
	ctx context.Context

	mu   sync.Mutex
	open map[string]*Tree
}

func (m *modules) of(r Request, t *Tree) func(string, plumbing.Hash) (*Tree, error) {
	return func(at string, commit plumbing.Hash) (*Tree, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		key := at + "\x00" + commit.String()
		if found, ok := m.open[key]; ok {
			return found, nil
		}
		if len(m.open) == maxModules {
			return nil, &ParseError{File: at, Message: "too many submodules in one Application; do they hold each other?"}
		}
		sub, err := t.submodule(r, at)
		if err != nil {
			return nil, err
		}
		found, err := m.git.tree(m.ctx, sub, commit)
		if err != nil {
			e := &Error{Reason: ReasonOf(err), Message: "submodule " + at, Err: err}
			return nil, e
		}
		found.within = at
		found.module = m.of(sub, found)
		m.open[key] = found
		return found, nil
	}
}

// submodule says where the submodule at a path comes from. Credentials go along only to the same host: what .gitmodules says is up to whoever may push.
func (t *Tree) submodule(r Request, at string) (Request, error) {
	fail := func(text string) (Request, error) {
		return Request{}, &ParseError{File: path.Join(t.within, ".gitmodules"), Message: text}
	}
	data, err := fs.ReadFile(t, ".gitmodules")
	if err != nil {
		return fail("the submodule " + at + " is not in it, or it does not exist")
	}
	mods := config.NewModules()
	if err := mods.Unmarshal(data); err != nil {
		return fail("it cannot be read: " + err.Error())
	}
	for _, s := range mods.Submodules {
		if path.Join(t.within, s.Path) != at {
			continue
		}
		sub, err := r.Borrow(resolveURL(r.URL, s.URL))
		if err != nil {
			return fail("the submodule " + at + ": " + err.Error())
		}
		return sub, nil
	}
	return fail("it does not name the submodule " + at)
}

// Borrow is a request for another repository that this one's files name. Credentials go along only to the same host, and a folder of the control plane's host is not
// read because somebody far away says so: what files name is up to whoever may push.
func (r Request) Borrow(to string) (Request, error) {
	ep, err := endpoint(to)
	if err != nil {
		return Request{}, err
	}
	parent, err := endpoint(r.URL)
	if err != nil {
		return Request{}, err
	}
	if ep.Protocol == "file" && parent.Protocol != "file" {
		return Request{}, failf(InvalidSource, "%s is a folder of the control plane's host; use a URL that others can reach too", Redact(to))
	}
	out := Request{URL: to}
	if ep.Protocol == parent.Protocol && strings.EqualFold(ep.Host, parent.Host) && ep.Port == parent.Port {
		out.Credentials = r.Credentials
	}
	return out, nil
}

// Open returns the tree that a bare name stands for in a repository: a tag, a branch or a commit, or the default branch for no name.
func (g *Git) Open(ctx context.Context, r Request, name string) (t *Tree, err error) {
	outside(ctx, r.URL, func(ctx context.Context) { t, err = g.open(ctx, r, name) })
	return t, err
}

func (g *Git) open(ctx context.Context, r Request, name string) (*Tree, error) {
	repo, err := g.lock(r)
	if err != nil {
		return nil, err
	}
	defer repo.mu.Unlock()
	defer repo.remote.close()
	if err := repo.store.open(); err != nil {
		return nil, err
	}
	if plumbing.IsHash(name) {
		if t, err := repo.tree(plumbing.NewHash(name)); err == nil {
			return t, nil
		}
	}
	began := time.Now()
	l, err := repo.remote.list(ctx)
	if err != nil {
		return nil, err
	}
	repo.listed, repo.listedAt = l, began
	w, err := l.find(repo.name, name)
	if err != nil {
		return nil, err
	}
	if err := repo.ensure(ctx, w); err != nil {
		return nil, err
	}
	return repo.tree(w.commit)
}

// Commit is the tree's commit.
func (t *Tree) Commit() string { return t.commit }

// resolveURL makes a submodule's URL absolute; one that begins with ./ or ../ is relative to its parent's.
func resolveURL(parent, sub string) string {
	if !strings.HasPrefix(sub, "./") && !strings.HasPrefix(sub, "../") {
		return sub
	}
	if u, err := url.Parse(parent); err == nil && u.Scheme != "" && strings.Contains(parent, "://") {
		u.Path = path.Join(u.Path, sub)
		return u.String()
	}
	host, p, _ := strings.Cut(parent, ":")
	return host + ":" + path.Join(p, sub)
}

package source_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/internal/reconcile"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
)

// host shows a repository, and falls silent amid the answers to requests whose path ends with one name.
type host struct {
	url    string
	silent atomic.Value // of string
	// fallen is told of each answer that has fallen silent.
	fallen chan struct{}
}

func fickle(t *testing.T, repo *gittest.Repo) *host {
	t.Helper()
	s := repo.Serve(t, false)
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{fallen: make(chan struct{}, 100)}
	h.silent.Store("")
	p := httputil.NewSingleHostReverseProxy(to)
	p.FlushInterval = -1
	p.ModifyResponse = func(res *http.Response) error {
		if at := h.silent.Load().(string); at != "" && strings.HasSuffix(res.Request.URL.Path, at) {
			rest := res.Body
			res.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(rest, 30), silence{res.Request.Context(), h.fallen}), rest}
		}
		return nil
	}
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	h.url = front.URL + strings.TrimPrefix(s.Repo(), s.URL)
	return h
}

// silence is read for as long as somebody waits.
type silence struct {
	ctx    context.Context
	fallen chan<- struct{}
}

func (s silence) Read([]byte) (int, error) {
	s.fallen <- struct{}{}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// soon fails the test unless f returns within a time that no honest run needs.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: it is waited for", what)
	}
}

// A repository's other Applications go on with the commits that are here, however long its host takes to show one of them the next.
func TestACommitThatIsHereIsReadWhileTheHostIsSilent(t *testing.T) {
	for _, at := range []string{"/info/refs", "/git-upload-pack"} {
		t.Run(strings.TrimPrefix(at, "/"), func(t *testing.T) {
			repo := gittest.New(t)
			first := repo.Push(two)
			h := fickle(t, repo)
			g := source.New(t.TempDir())
			r := source.Request{URL: h.url}
			if _, err := g.Head(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			second := repo.Push(map[string]string{"deploy/a.yaml": "a: 2\n"})
			h.silent.Store(at)
			ctx, cancel := context.WithCancel(t.Context())
			looked := make(chan error, 1)
			go func() { _, err := g.Head(ctx, r); looked <- err }()
			<-h.fallen

			soon(t, "the commit before", func() {
				if got := filesOf(t, g, r, first, "deploy"); len(got) == 0 {
					t.Error("it has no files")
				}
			})
			h.silent.Store("")
			cancel()
			if err := <-looked; err == nil {
				t.Error("the look ended well, so nothing was silent")
			}
			if head, err := g.Head(t.Context(), r); err != nil || head.Hash != second {
				t.Errorf("once the host speaks: %v, %v", head, err)
			}
			if got := filesOf(t, g, r, second, "deploy"); got["deploy/a.yaml"] != "a: 2\n" {
				t.Errorf("the next commit's files are %v", got)
			}
		})
	}
}

// Reading may have to fetch: a commit that the store has lost, or a submodule. Whoever waits for that gives up its turn, as one who looks does.
func TestWhoWaitsForACommitToReadHoldsUpNobodyElse(t *testing.T) {
	repo := gittest.New(t)
	commit := repo.Push(two)
	h := fickle(t, repo)
	h.silent.Store("/info/refs")
	g := source.New(t.TempDir())
	silent, other := reconcile.Key{Name: "silent"}, reconcile.Key{Name: "other"}
	worked := make(chan struct{})
	l := reconcile.New("test", func(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
		if key == other {
			close(worked)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, g.Read(ctx, source.Request{URL: h.url}, commit, func(*source.Tree) error { return nil })
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx, 1) }()
	t.Cleanup(func() { cancel(); <-ended })
	l.Enqueue(silent)
	<-h.fallen
	l.Enqueue(other)
	soon(t, "what has nothing to do with it", func() { <-worked })
}

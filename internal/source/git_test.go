package source_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
)

var two = map[string]string{"deploy/a.yaml": "a: 1\n", "deploy/sub/b.yml": "b: 1\n", "deploy/.hidden.yaml": "x", "deploy/README.md": "x", "other/c.yaml": "c"}

// read fetches main and returns its commit and the files of deploy/.
func read(t *testing.T, g *source.Git, r source.Request) (string, map[string]string) {
	t.Helper()
	c, err := g.Head(t.Context(), r)
	if err != nil {
		t.Fatalf("Head: %v", err)
	}
	return c.Hash, filesOf(t, g, r, c.Hash, "deploy")
}

func filesOf(t *testing.T, g *source.Git, r source.Request, commit, dir string) map[string]string {
	t.Helper()
	files, err := plain(t, g, r, commit, dir)
	if err != nil {
		t.Fatalf("reading %s: %v", dir, err)
	}
	out := map[string]string{}
	for _, f := range files {
		out[f.Path] = string(f.Data)
	}
	return out
}

// plain reads a folder of a commit as plain manifests.
func plain(t *testing.T, g *source.Git, r source.Request, commit, dir string) (files []source.File, err error) {
	t.Helper()
	clean, err := source.CleanPath(dir)
	if err != nil {
		return nil, err
	}
	err = g.Read(t.Context(), r, commit, func(tree *source.Tree) error {
		if err := source.CheckFolder(tree, clean); err != nil {
			return err
		}
		var err error
		files, _, err = source.Plain(tree, clean, nil)
		return err
	})
	return files, err
}

func TestEveryTransportBringsTheSameFiles(t *testing.T) {
	repo := gittest.New(t)
	first := repo.Push(two)
	plain, secure, ssh := repo.Serve(t, false), repo.Serve(t, true), repo.ServeSSH(t)
	requests := map[string]source.Request{
		"file":  {URL: repo.URL()},
		"HEAD":  {URL: plain.Repo(), Ref: v1alpha1.Ref{Branch: source.HeadBranch}},
		"http":  {URL: plain.Repo()},
		"https": {URL: secure.Repo(), Credentials: source.Credentials{CAFile: secure.CA()}},
		"ssh":   {URL: ssh.URL, Credentials: source.Credentials{Identity: ssh.Identity, KnownHosts: ssh.KnownHosts}},
	}
	g := source.New(t.TempDir())
	for name, r := range requests {
		t.Run(name+", from nothing", func(t *testing.T) {
			commit, files := read(t, g, r)
			if commit != first {
				t.Errorf("commit %s, pushed %s", commit, first)
			}
			if d := cmp.Diff(map[string]string{"deploy/a.yaml": "a: 1\n", "deploy/sub/b.yml": "b: 1\n"}, files); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
		})
	}
	second := repo.Push(map[string]string{"deploy/a.yaml": "a: 2\n", "deploy/sub/b.yml": "b: 1\n"})
	for name, r := range requests {
		t.Run(name+", one commit more", func(t *testing.T) {
			commit, files := read(t, g, r)
			if commit != second {
				t.Errorf("commit %s, pushed %s", commit, second)
			}
			if d := cmp.Diff(map[string]string{"deploy/a.yaml": "a: 2\n", "deploy/sub/b.yml": "b: 1\n"}, files); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
			old := filesOf(t, g, r, first, "deploy")
			if old["deploy/a.yaml"] != "a: 1\n" {
				t.Errorf("the first commit reads %q now", old["deploy/a.yaml"])
			}
		})
	}
}

func TestAForcePushIsFollowed(t *testing.T) {
	repo := gittest.New(t)
	s := repo.Serve(t, false)
	for name, url := range map[string]string{"file": repo.URL(), "http": s.Repo()} {
		t.Run(name, func(t *testing.T) {
			g := source.New(t.TempDir())
			r := source.Request{URL: url}
			repo.Push(two)
			read(t, g, r)
			rewritten := repo.Rewrite(map[string]string{"deploy/a.yaml": "a: 9\n"})
			commit, files := read(t, g, r)
			if commit != rewritten || files["deploy/a.yaml"] != "a: 9\n" {
				t.Errorf("after the force-push: commit %s, a.yaml %q; pushed %s", commit, files["deploy/a.yaml"], rewritten)
			}
		})
	}
}

func TestTagsAndExactCommitsAreFound(t *testing.T) {
	repo := gittest.New(t)
	s := repo.Serve(t, false)
	first := repo.Push(two)
	repo.Git("tag", "-a", "-m", "one", "v1", first)
	repo.Git("tag", "light", first)
	second := repo.Push(map[string]string{"deploy/a.yaml": "a: 2\n"})
	repo.Git("tag", "v1.2.0", first)
	repo.Git("tag", "-a", "-m", "two", "1.10.0", second)
	repo.Git("tag", "v2.0.0-rc.1", second)
	repo.Git("tag", "not-a-version", second)
	last := repo.Push(map[string]string{"deploy/a.yaml": "a: 3\n"})
	branch := repo.PushTo("next", map[string]string{"deploy/a.yaml": "a: 4\n"})
	for _, url := range []string{repo.URL(), s.Repo()} {
		for name, c := range map[string]struct {
			ref  v1alpha1.Ref
			want string
		}{
			"annotated tag":       {v1alpha1.Ref{Tag: "v1"}, first},
			"lightweight tag":     {v1alpha1.Ref{Tag: "light"}, first},
			"range of versions":   {v1alpha1.Ref{SemVer: "1.x"}, second},
			"range with an end":   {v1alpha1.Ref{SemVer: ">=1.0.0 <1.10.0"}, first},
			"a pre-release":       {v1alpha1.Ref{SemVer: ">=2.0.0-0"}, second},
			"tip":                 {v1alpha1.Ref{Commit: last}, last},
			"commit in the past":  {v1alpha1.Ref{Commit: repo.Git("rev-parse", last+"~1")}, repo.Git("rev-parse", last+"~1")},
			"branch":              {v1alpha1.Ref{Branch: "next"}, branch},
			"main when none said": {v1alpha1.Ref{}, last},
		} {
			t.Run(name, func(t *testing.T) {
				got, err := source.New(t.TempDir()).Head(t.Context(), source.Request{URL: url, Ref: c.ref})
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(c.want, got.Hash); d != "" {
					t.Errorf("commit (-want +got):\n%s", d)
				}
				if got.Subject != "Change the manifests" || got.Author != "Ada <ada@example.com>" {
					t.Errorf("subject %q, author %q", got.Subject, got.Author)
				}
			})
		}
	}
}

func TestWhatCannotBeReadSaysWhyAndWhatToDo(t *testing.T) {
	repo, empty := gittest.New(t), gittest.New(t)
	commit := repo.Push(two)
	s, emptyServer, secure, ssh := repo.Serve(t, false), empty.Serve(t, false), repo.Serve(t, true), repo.ServeSSH(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	private := repo.Serve(t, false)
	private.Authorize = func(r *http.Request) bool {
		u, p, _ := r.BasicAuth()
		return u == "me" && p == "s3cret" || r.Header.Get("Authorization") == "Bearer t0ken"
	}
	for name, c := range map[string]struct {
		r      source.Request
		path   string
		reason source.Reason
		text   string
	}{
		"nobody listens":              {r: source.Request{URL: "http://" + nobody + "/x.git"}, reason: source.Unreachable, text: "connection refused"},
		"empty over http":             {r: source.Request{URL: emptyServer.Repo()}, reason: source.Empty, text: "push one"},
		"empty folder repository":     {r: source.Request{URL: empty.URL()}, reason: source.Empty, text: "push one"},
		"no such repository":          {r: source.Request{URL: s.URL + "/none.git"}, reason: source.NotFound, text: "check repoURL"},
		"no such folder":              {r: source.Request{URL: "file:///nonexistent/repo.git"}, reason: source.NotFound, text: "there is no folder"},
		"a folder without repository": {r: source.Request{URL: "file://" + t.TempDir()}, reason: source.NotFound, text: "is no Git repository"},
		"branch that is not there":    {r: source.Request{URL: s.Repo(), Ref: v1alpha1.Ref{Branch: "prod"}}, reason: source.RefNotFound, text: "its branches: main"},
		"tag that is not there":       {r: source.Request{URL: s.Repo(), Ref: v1alpha1.Ref{Tag: "v9"}}, reason: source.RefNotFound, text: "it has no tags"},
		"version that is not there":   {r: source.Request{URL: s.Repo(), Ref: v1alpha1.Ref{SemVer: ">=3"}}, reason: source.RefNotFound, text: "no tag with a version in"},
		"no range of versions":        {r: source.Request{URL: s.Repo(), Ref: v1alpha1.Ref{SemVer: "newest"}}, reason: source.InvalidSource, text: "not a range of versions"},
		"commit that is not there":    {r: source.Request{URL: s.Repo(), Ref: v1alpha1.Ref{Commit: strings.Repeat("ab", 20)}}, reason: source.RefNotFound, text: "has no commit abab"},
		"half a commit hash":          {r: source.Request{URL: s.Repo(), Ref: v1alpha1.Ref{Commit: commit[:8]}}, reason: source.InvalidSource, text: "40 hexadecimal digits"},
		"two refs at once":            {r: source.Request{URL: s.Repo(), Ref: v1alpha1.Ref{Branch: "main", Tag: "v1"}}, reason: source.InvalidSource, text: "only one"},
		"path that is not there":      {r: source.Request{URL: s.Repo()}, path: "deplyo", reason: source.PathNotFound, text: "folders there: deploy, other"},
		"path that is a file":         {r: source.Request{URL: s.Repo()}, path: "deploy/a.yaml", reason: source.PathNotFound, text: "must be a folder"},
		"path that climbs out":        {r: source.Request{URL: s.Repo()}, path: "deploy/../../etc", reason: source.InvalidSource, text: ".. is not allowed"},
		"unknown scheme":              {r: source.Request{URL: "ftp://x/y"}, reason: source.InvalidSource, text: "unknown scheme"},
		"no URL":                      {r: source.Request{}, reason: source.InvalidSource, text: "is empty"},
		"password is wrong":           {r: source.Request{URL: private.Repo(), Credentials: source.Credentials{Username: "me", Password: "wr0ng"}}, reason: source.Unauthorized, text: "secretRef"},
		"unknown CA":                  {r: source.Request{URL: secure.Repo()}, reason: source.Unreachable, text: "caFile"},
		"ssh without a key":           {r: source.Request{URL: ssh.URL}, reason: source.InvalidCredentials, text: "identity"},
		"ssh without known_hosts":     {r: source.Request{URL: ssh.URL, Credentials: source.Credentials{Identity: ssh.Identity}}, reason: source.InvalidCredentials, text: "known_hosts"},
		"ssh host of another key":     {r: source.Request{URL: ssh.URL, Credentials: source.Credentials{Identity: ssh.Identity, KnownHosts: ssh.WrongHosts}}, reason: source.Unauthorized, text: "posing as the host"},
		"ssh key of a stranger":       {r: source.Request{URL: ssh.URL, Credentials: source.Credentials{Identity: ssh.Stranger, KnownHosts: ssh.KnownHosts}}, reason: source.Unauthorized, text: "public half"},
	} {
		t.Run(name, func(t *testing.T) {
			g := source.New(t.TempDir())
			head, err := g.Head(t.Context(), c.r)
			if err == nil {
				_, err = plain(t, g, c.r, head.Hash, c.path)
			}
			if err == nil {
				t.Fatal("no error")
			}
			if got := source.ReasonOf(err); got != c.reason {
				t.Errorf("reason %s, want %s: %v", got, c.reason, err)
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("the message lacks %q: %v", c.text, err)
			}
			for _, secret := range []string{"wr0ng", "s3cret", "t0ken"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the message holds a credential: %v", err)
				}
			}
		})
	}
	for name, cred := range map[string]source.Credentials{
		"basic":  {Username: "me", Password: "s3cret"},
		"bearer": {BearerToken: "t0ken"},
	} {
		t.Run("the right credentials: "+name, func(t *testing.T) {
			if _, err := source.New(t.TempDir()).Head(t.Context(), source.Request{URL: private.Repo(), Credentials: cred}); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("credentials in the URL are used and not shown", func(t *testing.T) {
		g := source.New(t.TempDir())
		url := strings.Replace(private.Repo(), "http://", "http://me:s3cret@", 1)
		if _, err := g.Head(t.Context(), source.Request{URL: url}); err != nil {
			t.Fatal(err)
		}
		private.Down.Store(true)
		_, err := g.Head(t.Context(), source.Request{URL: url})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %v", err)
		}
	})
}

func TestTheLastCommitStaysReadableWhenTheHostIsGone(t *testing.T) {
	repo := gittest.New(t)
	s := repo.Serve(t, false)
	repo.Push(two)
	dir := t.TempDir()
	r := source.Request{URL: s.Repo()}
	commit, files := read(t, source.New(dir), r)
	s.Down.Store(true)
	restarted := source.New(dir)
	if _, err := restarted.Head(t.Context(), r); source.ReasonOf(err) != source.Unreachable {
		t.Errorf("Head of a host that is down: %v", err)
	}
	if d := cmp.Diff(files, filesOf(t, restarted, r, commit, "deploy")); d != "" {
		t.Errorf("files after a restart (-want +got):\n%s", d)
	}
}

// Each case does to the store what a crash, a full disk or a careless hand could have done.
func TestADamagedStoreIsFetchedAgain(t *testing.T) {
	repo := gittest.New(t)
	s := repo.Serve(t, false)
	repo.Push(two)
	each := func(t *testing.T, root, pattern string, f func(string) error) {
		names, err := filepath.Glob(filepath.Join(root, "*.git", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("nothing to damage at %s: %v", pattern, err)
		}
		for _, n := range names {
			if err := f(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, damage := range map[string]func(t *testing.T, root string){
		"pack cut short": func(t *testing.T, root string) {
			each(t, root, "objects/pack/*.pack", func(n string) error { return os.Truncate(n, 40) })
		},
		"pack gone": func(t *testing.T, root string) { each(t, root, "objects/pack/*.pack", os.Remove) },
		"pack index empty": func(t *testing.T, root string) {
			each(t, root, "objects/pack/*.idx", func(n string) error { return os.Truncate(n, 0) })
		},
		"pack index gone": func(t *testing.T, root string) { each(t, root, "objects/pack/*.idx", os.Remove) },
		"list of commits": func(t *testing.T, root string) {
			each(t, root, "gitopsd.json", func(n string) error { return os.Truncate(n, 5) })
		},
		"everything removed": func(t *testing.T, root string) { each(t, root, "", os.RemoveAll) },
		"a half-written pack left over": func(t *testing.T, root string) {
			each(t, root, "objects/pack", func(n string) error { return os.WriteFile(filepath.Join(n, "tmp_pack_1"), []byte("PACK"), 0o600) })
		},
	} {
		for _, url := range []string{repo.URL(), s.Repo()} {
			t.Run(name, func(t *testing.T) {
				root := t.TempDir()
				r := source.Request{URL: url}
				commit, files := read(t, source.New(root), r)
				damage(t, root)
				again, filesAgain := read(t, source.New(root), r)
				if d := cmp.Diff(files, filesAgain); d != "" || again != commit {
					t.Errorf("commit %s, then %s; files (-before +after):\n%s", commit, again, d)
				}
			})
		}
	}
}

func TestManyPushesLeaveASmallStore(t *testing.T) {
	repo := gittest.New(t)
	s := repo.Serve(t, false)
	root := t.TempDir()
	g := source.New(root)
	r := source.Request{URL: s.Repo()}
	var last string
	for i := range 52 {
		repo.Push(map[string]string{"deploy/a.yaml": strings.Repeat("x", i), "deploy/b.yaml": "b"})
		last, _ = read(t, g, r)
	}
	packs, err := filepath.Glob(filepath.Join(root, "*.git/objects/pack/*.pack"))
	if err != nil || len(packs) > 48 {
		t.Errorf("%d packs after 52 pushes: %v", len(packs), err)
	}
	if got := filesOf(t, source.New(root), r, last, "deploy"); got["deploy/a.yaml"] != strings.Repeat("x", 51) {
		t.Errorf("the last commit reads %v", got)
	}
	repo.Git("--git-dir="+mustOne(t, root), "fsck", "--no-dangling")
}

func mustOne(t *testing.T, root string) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(root, "*.git"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("stores: %v, %v", dirs, err)
	}
	return dirs[0]
}

func TestOnePushIsOneFetchForAllWhoShareTheRepository(t *testing.T) {
	repo := gittest.New(t)
	s := repo.Serve(t, false)
	repo.Push(two)
	g := source.New(t.TempDir())
	told := time.Now()
	for range 10 {
		if _, err := g.Head(t.Context(), source.Request{URL: s.Repo(), NotBefore: told}); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Requests.Load(); n != 2 {
		t.Errorf("%d requests for ten Applications; a listing and a fetch are two", n)
	}
}

func TestStoresThatNobodyUsesAreRemoved(t *testing.T) {
	root := t.TempDir()
	g := source.New(root)
	var requests []source.Request
	for range 6 {
		repo := gittest.New(t)
		repo.Push(two)
		requests = append(requests, source.Request{URL: repo.URL()})
		read(t, g, requests[len(requests)-1])
	}
	if err := g.Forget(requests[2:4]); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(root, "*.git"))
	if err != nil || len(left) != 2 {
		t.Errorf("stores %v, %v; want two", left, err)
	}
	for _, r := range requests {
		read(t, g, r)
	}
}

func TestAFetchOfAFewCommitsMoreBringsWhatTheyChangedAndNotTheWholeTree(t *testing.T) {
	repo, dir := gittest.New(t), t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	files := map[string]string{}
	for i := range 100 {
		var text strings.Builder // that does not compress
		for range 500 {
			fmt.Fprintf(&text, "%x", random.Uint64())
		}
		files[fmt.Sprintf("deploy/%d.yaml", i)] = text.String()
	}
	repo.Push(files)
	g, r := source.New(dir), source.Request{URL: repo.Serve(t, false).Repo()}
	read(t, g, r)
	packs := func() (sizes []int64) {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "*.pack"))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			info, err := os.Stat(n)
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, info.Size())
		}
		slices.Sort(sizes)
		return sizes
	}
	whole := packs()[0]
	for i := range 3 {
		files["deploy/1.yaml"] = fmt.Sprintf("a: %d\n", i)
		repo.Push(files)
	}
	r.NotBefore = time.Now()
	if _, got := read(t, g, r); got["deploy/1.yaml"] != "a: 2\n" || len(got) != 100 {
		t.Errorf("%d files, the changed one %q", len(got), got["deploy/1.yaml"])
	}
	if p := packs(); len(p) != 2 || p[0] > whole/10 {
		t.Errorf("packs of %v bytes after three commits that change one file of 100", p)
	}
}

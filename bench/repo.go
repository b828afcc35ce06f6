package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/render"
	"github.com/gitopsd/gitopsd/test/gitserver"
)

// The repository of benchRepository: a thousand folders of ten files each, and a history in which each commit changes one of them.
const (
	repoFolders = 1000
	repoPerDir  = 10
	repoCommits = 5000
)

// benchRepository measures what package source does with a large repository, over smart HTTP from this machine: the first fetch, a fetch after one commit more, and a rendering of each
// folder as an Application of its own, before and after that commit.
func benchRepository(ctx context.Context, dir string, out io.Writer) (err error) {
	root := filepath.Join(dir, "repositories")
	server := &gitserver.Server{Root: root}
	if err := server.Create("large.git"); err != nil {
		return err
	}
	bare := filepath.Join(root, "large.git")
	if err := history(ctx, bare); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving := &http.Server{Handler: server, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- serving.Serve(l) }()
	defer func() {
		cerr := serving.Close()
		if serr := <-ended; !errors.Is(serr, http.ErrServerClosed) {
			cerr = errors.Join(cerr, serr)
		}
		err = errors.Join(err, cerr)
	}()

	g := source.New(filepath.Join(dir, "store"))
	r := source.Request{URL: "http://" + l.Addr().String() + "/large.git"}
	fmt.Fprintf(out, "\na repository of %d files and %d commits\n", repoFolders*repoPerDir, repoCommits)
	first, took, err := head(ctx, g, r)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  first fetch                        %8.0f ms, %s on disk\n", inMs(took), size(filepath.Join(dir, "store")))
	inputs := map[string]source.Inputs{}
	begin := time.Now()
	for i := range repoFolders {
		path := folderName(i)
		err := g.Read(ctx, r, first.Hash, func(t *source.Tree) error {
			_, err := render.Render(ctx, render.Input{Tree: t, Path: path, From: source.From{DefaultNamespace: "default"}, Application: path})
			inputs[path] = t.Inputs()
			return err
		})
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "  %d Applications rendered          %8.0f ms\n", repoFolders, inMs(time.Since(begin)))
	if err := importCommits(ctx, bare, 1, repoCommits); err != nil {
		return err
	}
	second, took, err := head(ctx, g, r)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  fetch of one commit more           %8.1f ms\n", inMs(took))
	begin = time.Now()
	changed := 0
	for i := range repoFolders {
		same, err := g.Unchanged(ctx, r, second.Hash, inputs[folderName(i)])
		if err != nil {
			return err
		}
		if !same {
			changed++
		}
	}
	fmt.Fprintf(out, "  which of %d Applications changed  %8.1f ms: %d\n", repoFolders, inMs(time.Since(begin)), changed)
	if changed != 1 {
		return fmt.Errorf("a commit that changes one folder is seen to change %d", changed)
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	fmt.Fprintf(out, "  memory in use afterwards           %8.1f MB\n", float64(m.HeapAlloc)/1e6)
	return nil
}

func head(ctx context.Context, g *source.Git, r source.Request) (source.Commit, time.Duration, error) {
	begin := time.Now()
	c, err := g.Head(ctx, r)
	return c, time.Since(begin), err
}

func inMs(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func folderName(i int) string { return fmt.Sprintf("apps/%04d", i) }

// history fills a bare repository: everything in the first commit, then one file a commit.
func history(ctx context.Context, bare string) error {
	return fastImport(ctx, bare, func(w io.Writer) {
		fmt.Fprint(w, "commit refs/heads/main\ncommitter bench <bench@example.com> 1700000000 +0000\ndata 5\nfirst\n")
		for i := range repoFolders {
			for j := range repoPerDir {
				file(w, i, j, 0)
			}
		}
		for n := 1; n < repoCommits; n++ {
			change(w, n, false)
		}
	})
}

// importCommits adds commits, each of which changes one file.
func importCommits(ctx context.Context, bare string, count, from int) error {
	return fastImport(ctx, bare, func(w io.Writer) {
		for n := range count {
			change(w, from+n, n == 0)
		}
	})
}

// change writes a commit; the first of an import has to say what it follows.
func change(w io.Writer, n int, first bool) {
	fmt.Fprintf(w, "commit refs/heads/main\ncommitter bench <bench@example.com> %d +0000\ndata 6\nchange\n", 1700000000+n)
	if first {
		fmt.Fprint(w, "from refs/heads/main^0\n")
	}
	file(w, n%repoFolders, n%repoPerDir, n)
}

func file(w io.Writer, i, j, n int) {
	text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cm-%d\n  namespace: app-%d\ndata:\n  round: \"%d\"\n", j, i, n)
	fmt.Fprintf(w, "M 100644 inline %s/cm-%d.yaml\ndata %d\n%s\n", folderName(i), j, len(text), text)
}

func fastImport(ctx context.Context, bare string, write func(io.Writer)) error {
	cmd := exec.CommandContext(ctx, "git", "-C", bare, "fast-import", "--quiet")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	w := bufio.NewWriter(in)
	write(w)
	return errors.Join(w.Flush(), in.Close(), cmd.Wait())
}

// size is what a folder takes on disk.
func size(dir string) string {
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		return "an unknown size"
	}
	return fmt.Sprintf("%.1f MB", float64(total)/1e6)
}

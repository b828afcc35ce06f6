package kustomize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/gitopsd/gitopsd/internal/source"
)

// maxRemotes bounds the repositories that the kustomizations of one Application come from.
const maxRemotes = 32

// Remote fetches what a kustomization names by URL: the tree of a repository and a folder in it, or the content of one file.
type Remote interface {
	Base(ctx context.Context, url string) (tree fs.FS, dir string, err error)
	File(ctx context.Context, url string) ([]byte, error)
}

// isURL says whether an entry that is no path in the tree is meant as a URL.
func isURL(item string) bool {
	return strings.Contains(item, "://") || strings.HasPrefix(item, "git@") || strings.HasPrefix(item, "git::") || hosted.MatchString(item)
}

// hosted are hosts that kustomize takes without a scheme.
var hosted = regexp.MustCompile(`^(github\.com|gitlab\.com|bitbucket\.org)[/:]`)

// fetch brings what a URL names into the file system, and says where; empty when it must not, which is noted then.
func (g *gatherer) fetch(f *folder, field, item string, resource bool) (string, error) {
	if to, ok := g.mounts[item]; ok {
		return to, nil
	}
	if g.remotes++; g.remotes > maxRemotes {
		g.failf(f, field, "more than %d remote bases in one Application; copy some into the repository", maxRemotes)
		return "", nil
	}
	at := place{mount: path.Join(remoteRoot, strconv.Itoa(g.remotes)), shown: source.Redact(item)}
	at.shown, _, _ = strings.Cut(at.shown, "?")
	g.out.Remote = true
	if resource && isFile(item) {
		data, err := g.remote.File(g.ctx, item)
		if err != nil {
			return "", g.refused(f, field, err)
		}
		to := path.Join(at.mount, path.Base(at.shown))
		g.mounts[item] = to
		at.tree = nothing{}
		return to, g.resource(at, ".", f, field, to, source.File{Path: at.shown, Data: data})
	}
	tree, dir, err := g.remote.Base(g.ctx, item)
	if err != nil {
		return "", g.refused(f, field, err)
	}
	at.tree = tree
	at.shown, _, _ = strings.Cut(at.shown, "//"+dir)
	to := path.Join(at.mount, dir)
	g.mounts[item] = to
	info, err := stat(tree, dir)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	case err == nil && info.Mode().IsRegular() && resource:
		return to, g.file(at, f, field, dir, true)
	case err != nil || !info.IsDir():
		g.failf(f, field, "%s: there is no folder %q", source.Redact(item), dir)
		return "", nil
	}
	return to, g.folder(at, dir, nil)
}

// nothing is the tree beside a single file that was fetched.
type nothing struct{}

func (nothing) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// refused notes why something could not be fetched when the kustomization is at fault, and otherwise, as for a host that is down, returns it.
func (g *gatherer) refused(f *folder, field string, err error) error {
	var e *source.Error
	if errors.As(err, &e) && (e.Reason == source.InvalidSource || e.Reason == source.RefNotFound || e.Reason == source.NotFound) {
		g.failf(f, field, "%s", err)
		return nil
	}
	return fmt.Errorf("%s: %w", source.At(f.shown, f.doc.At(field)), err)
}

// isFile says whether a URL is that of a single file of manifests, rather than of a repository.
func isFile(item string) bool {
	u, _, _ := strings.Cut(item, "?")
	_, p, ok := strings.Cut(u, "://")
	return ok && strings.HasPrefix(item, "http") && !strings.Contains(p, "//") && !strings.Contains(p, ".git/") && source.IsManifest(u)
}

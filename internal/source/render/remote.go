package render

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gitopsd/gitopsd/internal/reconcile"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Remotes fetches bases that kustomizations name by URL, where the Application allows it. It implements kustomize.Remote.
type Remotes struct {
	Git *source.Git
	// From is the request for the Application's own repository, whose credentials go along to the same host.
	From source.Request
	// Allowed are prefixes of URLs.
	Allowed []string
}

// maxRemoteFile bounds a single file of manifests; the largest that projects publish have a few megabytes.
const maxRemoteFile = 16 << 20

// Base fetches a folder of a repository.
func (r *Remotes) Base(ctx context.Context, text string) (fs.FS, string, error) {
	b, err := parseBase(text)
	if err != nil {
		return nil, "", err
	}
	if err := r.allow(b.repo); err != nil {
		return nil, "", err
	}
	req, err := r.From.Borrow(b.repo)
	if err != nil {
		return nil, "", err
	}
	tree, err := r.Git.Open(ctx, req, b.ref)
	if err != nil {
		return nil, "", err
	}
	return tree, b.dir, nil
}

// allow says whether the Application lets something be fetched.
func (r *Remotes) allow(to string) error {
	if allowed(r.Allowed, to) {
		return nil
	}
	return &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%s is in another repository, which the Application does not allow; add a prefix of it to spec.source.remotes, or copy the folder into this repository", source.Redact(to))}
}

// allowed says whether a URL begins with one of the prefixes, and with all of the last part of it.
func allowed(prefixes []string, to string) bool {
	plain := source.Redact(to)
	return slices.ContainsFunc(prefixes, func(prefix string) bool {
		return strings.HasPrefix(plain, prefix) && (strings.HasSuffix(prefix, "/") || len(plain) == len(prefix) || strings.ContainsRune("/.?", rune(plain[len(prefix)])))
	})
}

// base is a folder of a repository at a ref.
type base struct{ repo, dir, ref string }

var (
	hostedBase = regexp.MustCompile(`^(?:https://)?((?:github\.com|gitlab\.com|bitbucket\.org)/[^/?]+/[^/?]+)(?:/([^?]*))?$`)
	scpBase    = regexp.MustCompile(`^(?:ssh://)?([^@/\s]+@[^:/\s]+[:/].+)$`)
)

// parseBase takes a URL of a base apart as kustomize documents it: repository, two slashes (or .git and one), folder, and ?ref= for a branch, tag or commit.
// https://github.com/kubernetes-sigs/kustomize/blob/master/examples/remoteBuild.md
func parseBase(text string) (base, error) {
	where, query, _ := strings.Cut(strings.TrimPrefix(text, "git::"), "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return base{}, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%s: what follows the question mark cannot be read", source.Redact(text))}
	}
	b := base{ref: values.Get("ref")}
	if b.ref == "" {
		b.ref = values.Get("version")
	}
	scheme := 0
	if i := strings.Index(where, "://"); i >= 0 {
		scheme = i + 3
	}
	switch i := strings.Index(where[scheme:], "//"); {
	case i >= 0:
		b.repo, b.dir = where[:scheme+i], where[scheme+i+2:]
	case strings.Contains(where, ".git/"):
		repo, dir, _ := strings.Cut(where, ".git/")
		b.repo, b.dir = repo+".git", dir
	case hostedBase.MatchString(where):
		m := hostedBase.FindStringSubmatch(where)
		b.repo, b.dir = "https://"+m[1], m[2]
	default:
		b.repo = where
	}
	if hostedBase.MatchString(b.repo) && scheme == 0 {
		b.repo = "https://" + b.repo
	}
	if !strings.Contains(b.repo, "://") && !scpBase.MatchString(b.repo) {
		return base{}, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%s is neither a path in this repository nor a URL of another; write https://HOST/REPOSITORY//FOLDER?ref=TAG", source.Redact(text))}
	}
	b.dir = path.Clean("/" + b.dir)[1:]
	if b.dir == "" {
		b.dir = "."
	}
	return b, nil
}

// File fetches one file of manifests.
func (r *Remotes) File(ctx context.Context, text string) ([]byte, error) {
	if err := r.allow(text); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, text, nil)
	if err != nil {
		return nil, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%s is no URL", source.Redact(text))}
	}
	// A redirect is part of how release pages serve files; where it leads is the host's word, which is trusted here anyway.
	var res *http.Response
	reconcile.Await(ctx, func(context.Context) { res, err = http.DefaultClient.Do(req) })
	if err != nil {
		return nil, &source.Error{Reason: source.Unreachable, Message: source.Redact(text) + " cannot be read", Err: err}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		reason := source.Unreachable
		if res.StatusCode == http.StatusNotFound {
			reason = source.NotFound
		}
		return nil, &source.Error{Reason: reason, Message: fmt.Sprintf("%s: the server answered %s", source.Redact(text), res.Status)}
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxRemoteFile+1))
	if err != nil {
		return nil, &source.Error{Reason: source.Unreachable, Message: source.Redact(text) + " cannot be read", Err: err}
	}
	if len(data) > maxRemoteFile {
		return nil, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%s is larger than %d MiB", source.Redact(text), maxRemoteFile>>20)}
	}
	return data, nil
}

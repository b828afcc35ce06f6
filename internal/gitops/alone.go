package gitops

import (
	"context"
	"embed"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
	"github.com/gitopsd/gitopsd/internal/source/render"
)

// An Application may be nothing but a chart of a repository of charts, without a Git repository. The versions of the chart are its revisions then: where one of Git's
// has a commit, it has a version.

// alone says whether a source has no Git repository.
func alone(repoURL string) bool { return repoURL == "" }

// noFiles is the tree of such a revision.
var noFiles embed.FS

// chartVersion finds out which version of the chart that an Application names is meant now, by an answer from after since; empty where it names none.
func chartVersion(ctx context.Context, charts *chart.Fetcher, x extras, spec v1alpha1.Rendering, since time.Time) (string, error) {
	if spec.Helm == nil || spec.Helm.Chart == nil {
		return "", nil
	}
	c := spec.Helm.Chart
	if _, err := semver.StrictNewVersion(strings.TrimPrefix(c.Version, "v")); err == nil || strings.HasPrefix(c.Version, "sha256:") {
		return c.Version, nil
	}
	fetched, err := charts.Fetch(ctx, chart.Reference{Repository: c.URL, Name: c.Name, Version: c.Version, Credentials: x.charts[strings.TrimSuffix(c.URL, "/")], NotBefore: since})
	return fetched.Version, err
}

// versionAsCommit is a chart's version in the form of a revision.
func versionAsCommit(spec v1alpha1.Rendering, version string) source.Commit {
	return source.Commit{Hash: version, Subject: "chart " + spec.Helm.Chart.Name + " " + version}
}

// withTree calls f with the files of a revision.
func withTree(ctx context.Context, git *source.Git, req source.Request, revision string, in render.Input, f func(render.Input) error) error {
	if alone(req.URL) {
		helm := *in.Spec.Helm
		named := *helm.Chart
		named.Version = revision
		helm.Chart, in.Spec.Helm, in.Tree = &named, &helm, noFiles
		return f(in)
	}
	return git.Read(ctx, req, revision, func(t *source.Tree) error {
		in.Tree = t
		return f(in)
	})
}

package gitops

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Blamed knows who wrote each line of the files that an object comes from.
type Blamed struct {
	object *apply.Object
	lines  map[string][]source.Commit
}

// Line is where a field is set, and the commit that changed that very line last; the commit is empty where that is not known.
func (b *Blamed) Line(field string) (file string, line int, c source.Commit) {
	file, line = b.object.Place(field)
	if lines := b.lines[file]; line >= 1 && line <= len(lines) {
		c = lines[line-1]
	}
	return file, line, c
}

// Blame reads an object of the Application from the commit that is applied, with the history of the files that set the fields.
func Blame(ctx context.Context, config *rest.Config, app *v1alpha1.Application, k diff.Key, fields []string) (*Blamed, error) {
	applied := app.DeepCopy()
	if s := app.Status.AppliedSource; s != nil {
		// The spec may say something else by now.
		applied.Spec.Source.Path, applied.Spec.Source.Rendering, applied.Spec.TargetNamespace = s.Path, s.Rendering, s.TargetNamespace
		if source.Redact(app.Spec.Source.RepoURL) != s.RepoURL {
			applied.Spec.Source.RepoURL = s.RepoURL
		}
	}
	c, err := CheckOut(ctx, config, applied, v1alpha1.Ref{Commit: app.Status.AppliedRevision})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	objects, err := c.Objects(ctx)
	if err != nil {
		return nil, err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	cluster, err := apply.NewCluster(config, apply.NewMapper(d))
	if err != nil {
		return nil, err
	}
	for _, s := range objects {
		gvk := s.GroupVersionKind()
		if gvk.Group != k.Group || gvk.Kind != k.Kind || s.Name() != k.Name {
			continue
		}
		resolved, _, err := cluster.Resolve(ctx, []*source.Object{s}, apply.Target{Application: mark(keyOf(app)), Namespace: targetNamespace(applied)})
		if err != nil {
			return nil, err
		}
		if resolved[0].Key != k {
			continue // the same name in another namespace
		}
		b := &Blamed{object: resolved[0]}
		var files []string
		for _, f := range fields {
			if file, _ := b.object.Place(f); file != "" && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
		if alone(c.req.URL) {
			return b, nil // there is no history of lines
		}
		b.lines, err = c.git.Blame(ctx, c.req, c.Commit.Hash, files)
		return b, err
	}
	return nil, fmt.Errorf("%s has no %s", named(c.Commit.Hash), k)
}

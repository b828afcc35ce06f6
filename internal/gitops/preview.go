package gitops

import (
	"context"
	"errors"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/render"
)

// Preview says what applying something to the cluster as an Application would do, without doing any of it. It asks the server to try every
// write, with the rights of config, not of the Application.
type Preview struct {
	plan    diff.Plan
	objects map[diff.Key]*apply.Object
}

// Plan is what would be done.
func (p *Preview) Plan() diff.Plan { return p.plan }

// Where says where an object, or a field of it, is set; empty for an object that only the cluster has.
func (p *Preview) Where(k diff.Key, field string) (file string, line int) {
	o, ok := p.objects[k]
	switch {
	case !ok:
		return "", 0
	case field == "":
		return o.Source.Origin.File, o.Source.Origin.Line
	}
	return o.Place(field)
}

// PreviewFolder previews a folder on this machine as if it were the Application's path.
func PreviewFolder(ctx context.Context, config *rest.Config, app *v1alpha1.Application, dir string) (*Preview, error) {
	tree, path, closer, err := source.Folder(dir)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	git, done, err := temporaryGit()
	if err != nil {
		return nil, err
	}
	defer done()
	shape := shapeOf(app.Spec)
	shape.path = path
	in := renderInput(git, source.Request{URL: app.Spec.Source.RepoURL}, app.Name, shape, app.Spec.Source.Rendering, "")
	in.Tree = tree
	out, err := render.Render(ctx, in)
	return preview(ctx, config, app, out, err)
}

// temporaryGit keeps what it fetches in a directory that done removes.
func temporaryGit() (git *source.Git, done func(), err error) {
	dir, err := os.MkdirTemp("", "gitopsd-plan-")
	if err != nil {
		return nil, nil, err
	}
	return source.New(dir), func() { os.RemoveAll(dir) }, nil
}

// PreviewRef previews what the Application's repository has at another ref. The commit is fetched into a directory that is gone afterwards.
func PreviewRef(ctx context.Context, config *rest.Config, app *v1alpha1.Application, ref v1alpha1.Ref) (*Preview, error) {
	req := source.Request{URL: app.Spec.Source.RepoURL, Ref: ref, Submodules: app.Spec.Source.Submodules}
	if s := app.Spec.Source.SecretRef; s != nil {
		core, err := typedcorev1.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		secret, err := core.Secrets(app.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("reading the repository's Secret: %w", err)
		}
		req.Credentials = source.CredentialsFromSecret(app.Namespace+"/"+s.Name, secret.Data)
	}
	git, done, err := temporaryGit()
	if err != nil {
		return nil, err
	}
	defer done()
	head, err := git.Head(ctx, req)
	if err != nil {
		return nil, err
	}
	in := renderInput(git, req, app.Name, shapeOf(app.Spec), app.Spec.Source.Rendering, head.Hash)
	var out render.Output
	err = git.Read(ctx, req, head.Hash, func(t *source.Tree) error {
		in.Tree = t
		var err error
		out, err = render.Render(ctx, in)
		return err
	})
	return preview(ctx, config, app, out, err)
}

// preview returns an apply.Errors or source.ParseErrors next to whatever of the plan could be made.
func preview(ctx context.Context, config *rest.Config, app *v1alpha1.Application, rendered render.Output, err error) (*Preview, error) {
	p := &Preview{objects: map[diff.Key]*apply.Object{}}
	namespace := app.Spec.TargetNamespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	if err != nil {
		return p, err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	cluster, err := apply.NewCluster(config, apply.NewMapper(d))
	if err != nil {
		return nil, err
	}
	key := keyOf(app)
	objects, err := cluster.Resolve(ctx, rendered.Objects, apply.Target{Application: mark(key), Namespace: namespace})
	if err != nil {
		return p, err
	}
	refs := append([]v1alpha1.ObjectRef(nil), app.Status.Inventory...)
	in := diff.Input{
		Application: mark(key), Inventory: app.Status.Inventory, Prune: prunes(&app.Spec),
		Ignore: app.Spec.IgnoreDifferences, Normalize: diff.Typed(apply.Scheme),
	}
	for _, o := range objects {
		p.objects[o.Key] = o
		refs = append(refs, o.Ref)
		in.Wanted = append(in.Wanted, diff.Wanted{Ref: o.Ref, Desired: o.Desired})
	}
	if in.Live, err = cluster.Live(ctx, refs); err != nil {
		return nil, err
	}
	p.plan = diff.Make(in)
	var changes []apply.Change
	var removals []apply.Removal
	for _, s := range p.plan {
		switch s.Action {
		case diff.Create, diff.Update:
			changes = append(changes, apply.Change{Object: p.objects[diff.KeyOf(s.Ref)]})
		case diff.Prune:
			removals = append(removals, apply.Removal{Ref: s.Ref, Live: in.Live[diff.KeyOf(s.Ref)]})
		}
	}
	apply.HandOver(changes, removals)
	return p, cluster.Preflight(ctx, changes, app.Namespace)
}

// Refused says whether an error of a preview means that the commit would be refused, rather than that nothing could be found out.
func Refused(err error) bool {
	var objects apply.Errors
	var parse source.ParseErrors
	return errors.As(err, &objects) || errors.As(err, &parse)
}

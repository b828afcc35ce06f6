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
	return o.Source.Origin.File, o.Line(field)
}

// PreviewFolder previews a folder on this machine as if it were the Application's path.
func PreviewFolder(ctx context.Context, config *rest.Config, app *v1alpha1.Application, dir string) (*Preview, error) {
	files, err := source.Folder(dir)
	if err != nil {
		return nil, err
	}
	return preview(ctx, config, app, files, "")
}

// PreviewRef previews what the Application's repository has at another ref. The commit is fetched into a directory that is gone afterwards.
func PreviewRef(ctx context.Context, config *rest.Config, app *v1alpha1.Application, ref v1alpha1.Ref) (*Preview, error) {
	req := source.Request{URL: app.Spec.Source.RepoURL, Ref: ref}
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
	dir, err := os.MkdirTemp("", "gitopsd-plan-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	git := source.New(dir)
	head, err := git.Head(ctx, req)
	if err != nil {
		return nil, err
	}
	files, err := git.Files(ctx, req, head.Hash, app.Spec.Source.Path)
	if err != nil {
		return nil, err
	}
	return preview(ctx, config, app, files, head.Hash)
}

// preview returns an apply.Errors or source.ParseErrors next to whatever of the plan could be made.
func preview(ctx context.Context, config *rest.Config, app *v1alpha1.Application, files []source.File, commit string) (*Preview, error) {
	p := &Preview{objects: map[diff.Key]*apply.Object{}}
	namespace := app.Spec.TargetNamespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	from := source.From{Repo: source.Redact(app.Spec.Source.RepoURL), Commit: commit, DefaultNamespace: namespace}
	parsed, err := parse(ctx, files, from, app.Name, app.Spec.Source.Helm)
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
	objects, err := cluster.Resolve(ctx, parsed, apply.Target{Application: mark(key), Namespace: namespace})
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

package gitops

import (
	"context"
	"io/fs"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
	"github.com/gitopsd/gitopsd/internal/source/render"
)

// Checkout is a commit of an Application's repository, fetched for a look that changes nothing.
type Checkout struct {
	// Commit is what the ref is.
	Commit source.Commit

	app    *v1alpha1.Application
	git    *source.Git
	req    source.Request
	extras extras
	// served is what the cluster serves, for charts that ask.
	served []string
	dir    string
}

// CheckOut fetches what a ref of the Application's repository is, into a directory that Close removes. The repository's credentials are read from its Secret,
// with the rights of config.
func CheckOut(ctx context.Context, config *rest.Config, app *v1alpha1.Application, ref v1alpha1.Ref) (_ *Checkout, err error) {
	c, err := newCheckout(ctx, config, app, ref)
	if err != nil {
		return nil, err
	}
	if c.Commit, err = c.git.Head(ctx, c.req); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// newCheckout reads what the cluster holds for the source, and makes the directory for what is fetched.
func newCheckout(ctx context.Context, config *rest.Config, app *v1alpha1.Application, ref v1alpha1.Ref) (*Checkout, error) {
	spec := app.Spec.Source
	c := &Checkout{app: app, req: source.Request{URL: spec.RepoURL, Ref: ref, Submodules: spec.Submodules}}
	core, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	if s := spec.SecretRef; s != nil {
		data, err := secretData(ctx, core, app.Namespace, s.Name, "spec.source.secretRef")
		if err != nil {
			return nil, err
		}
		c.req.Credentials = source.CredentialsFromSecret(app.Namespace+"/"+s.Name, data)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	if c.served, err = apply.NewMapper(d).Served(ctx); err != nil {
		return nil, err
	}
	if c.extras, err = readExtras(ctx, core, app.Namespace, spec.Rendering); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "gitopsd-look-"); err != nil {
		return nil, err
	}
	c.git = source.New(c.dir)
	return c, nil
}

// Close removes what was fetched.
func (c *Checkout) Close() { _ = os.RemoveAll(c.dir) } // it is in the system's directory for such things

// Objects are the commit's objects, as they are rendered from it.
func (c *Checkout) Objects(ctx context.Context) (objects []*source.Object, err error) {
	err = c.git.Read(ctx, c.req, c.Commit.Hash, func(t *source.Tree) error {
		var err error
		objects, err = c.render(ctx, t, c.app.Spec.Source.Path)
		return err
	})
	return objects, err
}

func (c *Checkout) render(ctx context.Context, tree fs.FS, path string) ([]*source.Object, error) {
	shape := shapeOf(c.app.Spec)
	shape.path = path
	in := renderInput(c.git, c.req, c.app.Name, shape, c.app.Spec.Source.Rendering, c.extras, &chart.Fetcher{}, c.served, c.Commit.Hash)
	in.Tree = tree
	out, err := render.Render(ctx, in)
	return out.Objects, err
}

// targetNamespace is spec.targetNamespace with its default.
func targetNamespace(app *v1alpha1.Application) string {
	if ns := app.Spec.TargetNamespace; ns != "" {
		return ns
	}
	return metav1.NamespaceDefault
}

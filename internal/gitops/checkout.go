package gitops

import (
	"context"
	"os"
	"time"

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
	charts chart.Fetcher
	req    source.Request
	extras extras
	core   typedcorev1.CoreV1Interface
	mapper *apply.Mapper
	// served is what the cluster serves, for charts that ask.
	served []string
	dir    string
	// omitted is how many objects the last rendering left out.
	omitted int
}

// CheckOut fetches what a ref of the Application's repository is, into a directory that Close removes. The repository's credentials are read from its Secret,
// with the rights of config.
func CheckOut(ctx context.Context, config *rest.Config, app *v1alpha1.Application, ref v1alpha1.Ref) (_ *Checkout, err error) {
	c, err := newCheckout(ctx, config, app, ref)
	if err != nil {
		return nil, err
	}
	if c.Commit, err = c.head(ctx, ref); err != nil {
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
	c.core, c.mapper = core, apply.NewMapper(d)
	if c.served, err = c.mapper.Served(ctx); err != nil {
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

// head is what a ref is; of a chart without a repository it is a version, or the one that the Application means.
func (c *Checkout) head(ctx context.Context, ref v1alpha1.Ref) (source.Commit, error) {
	spec := c.app.Spec.Source.Rendering
	switch {
	case !alone(c.req.URL):
		return c.git.Head(ctx, c.req)
	case ref.Commit != "":
		return versionAsCommit(spec, ref.Commit), nil
	}
	version, err := chartVersion(ctx, &c.charts, c.extras, spec, time.Time{})
	return versionAsCommit(spec, version), err
}

// Close removes what was fetched.
func (c *Checkout) Close() { _ = os.RemoveAll(c.dir) } // it is in the system's directory for such things

// Objects are the commit's objects, as they are rendered from it.
func (c *Checkout) Objects(ctx context.Context) (objects []*source.Object, err error) {
	err = withTree(ctx, c.git, c.req, c.Commit.Hash, c.input(c.app.Spec.Source.Path), func(in render.Input) error {
		var err error
		objects, err = c.render(ctx, in)
		return err
	})
	return objects, err
}

// input is what the commit is rendered from at a path, but for the tree.
func (c *Checkout) input(path string) render.Input {
	shape := shapeOf(c.app.Spec)
	shape.path = path
	return renderInput(c.git, c.req, c.app.Name, shape, c.app.Spec.Source.Rendering, c.extras, &c.charts, c.served, c.Commit.Hash)
}

func (c *Checkout) render(ctx context.Context, in render.Input) ([]*source.Object, error) {
	out, err := render.Render(ctx, in)
	if err != nil {
		return nil, err
	}
	c.omitted = out.Omitted
	own := c.app.DeepCopy()
	own.Spec.Source.Path = in.Path
	objects, _, err := translated(ctx, c.mapper, c.core, anyone, own, in.Tree, out.Objects)
	return objects, err
}

// targetNamespace is spec.targetNamespace with its default.
func targetNamespace(app *v1alpha1.Application) string {
	if ns := app.Spec.TargetNamespace; ns != "" {
		return ns
	}
	return metav1.NamespaceDefault
}

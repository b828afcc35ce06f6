package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/client"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Preview says what applying something to the cluster as an Application would do, without doing any of it. It asks the server to try every
// write, with the rights of config, not of the Application.
type Preview struct {
	plan diff.Plan
	// resolved are all objects of the commit, objects those of them that are not left alone.
	resolved []*apply.Object
	objects  map[diff.Key]*apply.Object
	live     map[diff.Key]*unstructured.Unstructured
	cluster  *apply.Cluster
	omitted  int
	waiting  apply.Errors
}

// Plan is what would be done.
func (p *Preview) Plan() diff.Plan { return p.plan }

// Omitted is how many objects spec.source.omit left out.
func (p *Preview) Omitted() int { return p.omitted }

// Waiting are the objects that would be put off because the cluster does not know their kinds.
func (p *Preview) Waiting() apply.Errors { return p.waiting }

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

// States are an object before and after the step: as far as Git sets it where both have it, whole where it comes or goes. The one that there is not is nil.
func (p *Preview) States(s diff.Step) (before, after *unstructured.Unstructured) {
	k := diff.KeyOf(s.Ref)
	if o, ok := p.objects[k]; ok {
		after = o.Desired
	}
	switch {
	case after == nil && p.live[k] != nil:
		before = diff.Bare(p.live[k])
	case after != nil && p.live[k] != nil:
		before = diff.WithoutNotes(diff.Before(after, s.Fields))
	}
	return before, after
}

// Live is an object as the cluster has it; nil for none.
func (p *Preview) Live(k diff.Key) *unstructured.Unstructured { return p.live[k] }

// Look compares what the Application's repository has at a ref with the cluster. Unlike PreviewRef it does not ask the server to try the writes.
func Look(ctx context.Context, config *rest.Config, app *v1alpha1.Application, ref v1alpha1.Ref) (*Preview, source.Commit, error) {
	c, err := CheckOut(ctx, config, app, ref)
	if err != nil {
		return nil, source.Commit{}, err
	}
	defer c.Close()
	objects, err := c.Objects(ctx)
	p, err := compare(ctx, config, c, objects, err)
	return p, c.Commit, err
}

// PreviewFolder previews a folder on this machine as if it were the Application's path.
func PreviewFolder(ctx context.Context, config *rest.Config, app *v1alpha1.Application, dir string) (*Preview, error) {
	tree, path, closer, err := source.Folder(dir)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	c, err := newCheckout(ctx, config, app, v1alpha1.Ref{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	in := c.input(path)
	in.Tree = tree
	objects, err := c.render(ctx, in)
	return preview(ctx, config, c, objects, err)
}

// PreviewRef previews what the Application's repository has at another ref. The commit is fetched into a directory that is gone afterwards.
func PreviewRef(ctx context.Context, config *rest.Config, app *v1alpha1.Application, ref v1alpha1.Ref) (*Preview, error) {
	c, err := CheckOut(ctx, config, app, ref)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	objects, err := c.Objects(ctx)
	return preview(ctx, config, c, objects, err)
}

// preview returns an error that is Refused next to whatever of the plan could be made. err is that of the rendering.
func preview(ctx context.Context, config *rest.Config, c *Checkout, rendered []*source.Object, err error) (*Preview, error) {
	p, err := compare(ctx, config, c, rendered, err)
	if err != nil {
		return p, err
	}
	if err := emptied(c.app, p.resolved); err != nil {
		return p, err
	}
	if err := emptiedSets(emptySets(c.app, p.resolved), p.plan, p.live); err != nil {
		return p, err
	}
	var changes []apply.Change
	var removals []apply.Removal
	for _, s := range p.plan {
		switch k := diff.KeyOf(s.Ref); s.Action {
		case diff.Create, diff.Update:
			changes = append(changes, apply.Change{Object: p.objects[k]})
		case diff.Prune:
			removals = append(removals, apply.Removal{Ref: s.Ref, Live: p.live[k]})
		}
	}
	apply.HandOver(changes, removals)
	return p, p.cluster.Preflight(ctx, changes, c.app.Namespace)
}

// compare makes the plan.
func compare(ctx context.Context, config *rest.Config, c *Checkout, rendered []*source.Object, err error) (*Preview, error) {
	p := &Preview{objects: map[diff.Key]*apply.Object{}, omitted: c.omitted}
	if err != nil {
		return p, err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	if p.cluster, err = apply.NewCluster(config, apply.NewMapper(d)); err != nil {
		return nil, err
	}
	app := c.app
	if app.Spec.Replace {
		p.cluster = p.cluster.Replacing()
	}
	key := keyOf(app)
	objects, waiting, err := p.cluster.Resolve(ctx, rendered, apply.Target{Application: mark(key), Namespace: targetNamespace(app), WaitForKinds: app.Spec.WaitForKinds})
	if err != nil {
		return p, err
	}
	p.resolved, p.waiting = objects, waiting
	left := map[diff.Key]bool{}
	for _, o := range objects {
		left[o.Key] = o.Asks.Leave
	}
	inventory := slices.DeleteFunc(slices.Clone(app.Status.Inventory), func(r v1alpha1.ObjectRef) bool { return left[diff.KeyOf(r)] })
	refs := slices.Clone(inventory)
	in := diff.Input{
		Application: mark(key), Inventory: inventory, Prune: prunes(&app.Spec) && len(waiting) == 0,
		Ignore: app.Spec.IgnoreDifferences, Normalize: diff.Typed(apply.Scheme),
	}
	if in.Exists, err = allMarks(ctx, config); err != nil {
		return nil, err
	}
	for _, o := range objects {
		if left[o.Key] {
			continue
		}
		p.objects[o.Key] = o
		refs = append(refs, o.Ref)
		in.Wanted = append(in.Wanted, diff.Wanted{Ref: o.Ref, Desired: o.Desired})
	}
	if p.live, err = p.cluster.Live(ctx, refs); err != nil {
		return nil, err
	}
	in.Live = p.live
	p.plan = diff.Make(in)
	for i, s := range p.plan {
		switch {
		case s.Action == diff.Update && p.objects[diff.KeyOf(s.Ref)].Asks.Once:
			p.plan[i].Action, p.plan[i].Fields = diff.Unchanged, nil // it is there, and somebody else's now
		case s.Action == diff.Conflict:
			// Whether the other's commit drops it would take a rendering of that.
			p.plan[i].Reason = fmt.Sprintf("it belongs to Application %s; the commit is refused unless that lets go of it", slashed(s.Reason))
		}
	}
	return p, nil
}

// allMarks says which marks are those of Applications. Who may not list them all is not told which objects another one has.
func allMarks(ctx context.Context, config *rest.Config) (exists func(string) bool, err error) {
	clients, err := client.New(config)
	if err != nil {
		return nil, err
	}
	list, err := clients.In(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	marks := make(map[string]bool, len(list.Items))
	for i := range list.Items {
		marks[mark(keyOf(&list.Items[i]))] = true
	}
	return func(application string) bool { return marks[application] }, nil
}

// Refused says whether an error of a preview means that the commit would be refused, rather than that nothing could be found out.
func Refused(err error) bool {
	var objects apply.Errors
	return errors.As(err, &objects) || err != nil && source.ReasonOf(err) == source.InvalidManifest
}

package gitops

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/killpoint"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/render"
)

// recall loads, after a start, the commit that was applied last: it is what drift is measured against until another one is applied.
func (p *pass) recall(ctx context.Context) error {
	s := &p.app.Status
	if p.m.applied != nil || s.AppliedRevision == "" || s.AppliedSource == nil {
		return nil
	}
	from := shape{s.AppliedSource.RepoURL, s.AppliedSource.Path, s.AppliedSource.TargetNamespace, renderingText(s.AppliedSource.Rendering)}
	r, err := p.load(ctx, p.commitFromHistory(s.AppliedRevision), from)
	if err != nil {
		// The store is lost and the host away, or the kinds are not served any more. What is at the ref now decides.
		p.log.Warn("cannot load the commit that was applied last", "application", p.key.String(), "commit", s.AppliedRevision, "err", err)
		return ctx.Err()
	}
	if err := p.watch(ctx, r, true); err != nil {
		return err
	}
	p.m.adopt(r, nil, p.judge)
	p.m.measuredFor = p.app.Generation
	return nil
}

// recallRollout goes on, after a start, with what a commit had brought that was on its way: its steps so far are what the cluster is compared with.
func (p *pass) recallRollout(ctx context.Context) error {
	ro := p.rollout()
	if ro == nil || p.m.recalled {
		return nil
	}
	p.m.interrupt()
	if ro.Generation != p.app.Generation {
		return nil // it begins anew, or another takes its place
	}
	next, err := p.load(ctx, p.commitFromHistory(ro.Revision), shapeOf(p.app.Spec))
	if err != nil {
		p.log.Warn("cannot load the commit that was being applied", "application", p.key.String(), "commit", ro.Revision, "err", err)
		return ctx.Err()
	}
	p.m.recalled = true
	steps := stepsOf(next, p.occasion())
	if int(ro.Steps) != len(steps) {
		return nil
	}
	r := upTo(next, p.m.applied, steps, int(ro.Step)-1)
	r.unsure = map[diff.Key]bool{}
	for _, o := range steps[ro.Step-1].objects {
		r.unsure[o.Key] = !p.m.applied.brought(o)
	}
	if err := p.watch(ctx, r, true); err != nil {
		return err
	}
	p.m.adopt(r, nil, p.judge)
	p.m.expect(next.hooks)
	p.m.measuredFor = p.app.Generation
	return nil
}

// load renders a commit's objects and resolves them. A commit that differs from the applied one only in what these do not depend on has the applied one's objects.
func (p *pass) load(ctx context.Context, c source.Commit, from shape) (*revision, error) {
	req, err := p.request(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	if source.Redact(req.URL) != from.url {
		req.URL = from.url
	}
	if r := p.m.applied; r != nil && !alone(req.URL) && !r.partial && r.shape == from && r.extras == p.m.extras.fingerprint {
		switch same, err := p.git.Unchanged(ctx, req, c.Hash, r.inputs); {
		case err != nil:
			return nil, err
		case same:
			next := *r
			next.commit, next.carried = c, true
			return &next, nil
		}
	}
	in, err := p.input(ctx, req, c, from)
	if err != nil {
		return nil, err
	}
	own := p.app.DeepCopy()
	own.Spec.Source.RepoURL, own.Spec.Source.Path, own.Spec.TargetNamespace = req.URL, from.path, from.namespace
	var objects []*source.Object
	var omitted int
	var inputs source.Inputs
	err = withTree(ctx, p.git, req, c.Hash, in, func(in render.Input) error {
		out, err := render.Render(ctx, in)
		if err != nil {
			return err
		}
		var found bool
		if objects, found, err = translated(ctx, p.mapper, p.core, p.mayReadSource, own, in.Tree, out.Objects); err != nil {
			return err
		}
		if t, ok := in.Tree.(*source.Tree); ok && !out.Remote && !found {
			inputs = t.Inputs()
		}
		omitted = out.Omitted
		return nil
	})
	if err != nil {
		return nil, err
	}
	cluster, err := p.as()
	if err != nil {
		return nil, err
	}
	resolved, waiting, err := cluster.Resolve(ctx, objects, apply.Target{Application: mark(p.key), Namespace: in.From.DefaultNamespace, WaitForKinds: p.app.Spec.WaitForKinds})
	if err != nil {
		return nil, err
	}
	if err := tooDeep(resolved, lineage(p.app, p.parent)); err != nil {
		return nil, err
	}
	killpoint.Reach("rendered")
	r := newRevision(c, from, resolved)
	r.inputs, r.extras, r.omitted = inputs, p.m.extras.fingerprint, omitted
	r.waiting, r.partial = waiting, len(waiting) > 0
	return r, nil
}

// input is what a commit's objects are rendered from, but for the tree.
func (p *pass) input(ctx context.Context, req source.Request, c source.Commit, from shape) (render.Input, error) {
	spec, err := from.spec()
	if err != nil {
		return render.Input{}, err
	}
	served, err := p.mapper.Served(ctx)
	if err != nil {
		return render.Input{}, err
	}
	return renderInput(p.git, req, p.key.Name, from, spec, p.m.extras, p.charts, served, c.Hash), nil
}

// watch has the kinds of a revision's objects watched; wait waits until each has been seen once.
func (p *pass) watch(ctx context.Context, r *revision, wait bool) error {
	kinds := map[schema.GroupVersionResource]schema.GroupKind{}
	for _, o := range slices.Concat(r.objects, r.hooks) {
		kinds[o.Resource] = schema.GroupKind{Group: o.Ref.Group, Kind: o.Ref.Kind}
	}
	synced := p.tracker.follow(p.key, kinds)
	if !wait {
		return nil
	}
	for _, c := range synced {
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// commitFromHistory finds what is known of a commit that was applied before.
func (p *pass) commitFromHistory(hash string) source.Commit {
	for _, h := range p.app.Status.History {
		if h.Revision == hash {
			return source.Commit{Hash: hash, Subject: h.Message, Author: h.Author}
		}
	}
	return source.Commit{Hash: hash}
}

package gitops

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
)

// recall loads, after a start, the commit that was applied last: it is what drift is measured against until another one is applied.
func (p *pass) recall(ctx context.Context) error {
	s := &p.app.Status
	if p.m.applied != nil || s.AppliedRevision == "" || s.AppliedSource == nil {
		return nil
	}
	from := shape{s.AppliedSource.RepoURL, s.AppliedSource.Path, s.AppliedSource.TargetNamespace, helmText(s.AppliedSource.Helm)}
	r, err := p.load(ctx, p.commitFromHistory(s.AppliedRevision), from)
	if err != nil {
		// The store is lost and the host away, or the kinds are not served any more. What is at the ref now decides.
		p.log.Warn("cannot load the commit that was applied last", "application", p.key.String(), "commit", s.AppliedRevision, "err", err)
		return ctx.Err()
	}
	if err := p.watch(ctx, r, true); err != nil {
		return err
	}
	p.m.adopt(r, nil, p.app.Spec.IgnoreDifferences, p.normalize)
	p.m.measuredFor = p.app.Generation
	return nil
}

// load reads, parses and resolves a commit's objects.
func (p *pass) load(ctx context.Context, c source.Commit, from shape) (*revision, error) {
	req, err := p.request(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	if source.Redact(req.URL) != from.url {
		req.URL = from.url
	}
	files, err := p.git.Files(ctx, req, c.Hash, from.path)
	if err != nil {
		return nil, err
	}
	namespace := from.namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	helm, err := helmOf(from.helm)
	if err != nil {
		return nil, err
	}
	objects, err := parse(ctx, files, source.From{Repo: from.url, Commit: c.Hash, DefaultNamespace: namespace}, p.key.Name, helm)
	if err != nil {
		return nil, err
	}
	cluster, err := p.as()
	if err != nil {
		return nil, err
	}
	resolved, err := cluster.Resolve(ctx, objects, apply.Target{Application: mark(p.key), Namespace: namespace})
	if err != nil {
		return nil, err
	}
	r := &revision{commit: c, shape: from, objects: resolved, byKey: make(map[diff.Key]*apply.Object, len(resolved))}
	for _, o := range resolved {
		r.byKey[o.Key] = o
	}
	return r, nil
}

// watch has the kinds of a revision's objects watched; wait waits until each has been seen once.
func (p *pass) watch(ctx context.Context, r *revision, wait bool) error {
	kinds := map[schema.GroupVersionResource]schema.GroupKind{}
	for _, o := range r.objects {
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

package gitops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
)

// sync brings the cluster to the commit that should be applied, and back to it where it drifted.
func (p *pass) sync(ctx context.Context) error {
	if err := p.recall(ctx); err != nil {
		return err
	}
	if p.m.head.Hash == "" {
		return p.keep(ctx)
	}
	goal := p.m.head
	if p.trigger != triggerRequest {
		goal.Hash = target(&p.app.Status, p.m.head.Hash, p.app.Generation)
	}
	if p.m.measuredFor != p.app.Generation {
		p.m.remeasure()
		p.m.measuredFor = p.app.Generation
	}
	if r := p.m.applied; r != nil && r.commit.Hash == goal.Hash && r.shape == shapeOf(p.app.Spec) {
		p.m.refusal = nil
		return p.keep(ctx)
	}
	if r := p.m.refusal; r.standing(goal.Hash, p.app.Generation, p.trigger) {
		p.out.refusal = r
		return p.keep(ctx)
	}
	if name, why := waitingFor(p.app, p.sibling); name != "" {
		p.out.waiting = fmt.Sprintf("commit %s waits for Application %s, on which it depends: %s", short(goal.Hash), name, why)
		return p.keep(ctx)
	}
	next, err := p.load(ctx, goal, shapeOf(p.app.Spec))
	if err == nil {
		err = p.mayEmpty(next)
	}
	if err == nil {
		err = p.advance(ctx, next)
	}
	if err == nil {
		p.m.refusal = nil
		return p.health(ctx)
	}
	if r := p.refuse(goal.Hash, err); r != nil {
		p.m.refusal, p.out.refusal = r, r
		p.history(goal, resultRefused, err, counts{})
		return p.keep(ctx)
	}
	return err
}

// sibling returns an Application of the same namespace.
func (p *pass) sibling(name string) *v1alpha1.Application {
	return p.application(keyIn(p.key.Namespace, name))
}

// mayEmpty refuses a commit without objects when there are some to lose: a wrong path or a generator that failed looks just like it.
func (p *pass) mayEmpty(next *revision) error {
	if len(next.objects) > 0 || len(p.app.Status.Inventory) == 0 || !prunes(&p.app.Spec) || p.app.Annotations[v1alpha1.AnnotationAllowEmpty] == "true" {
		return nil
	}
	return &source.Error{Reason: source.InvalidManifest, Message: fmt.Sprintf(
		"path %q holds no objects any more, which would prune all %d that were applied; if that is meant, annotate the Application with %s=true",
		p.app.Spec.Source.Path, len(p.app.Status.Inventory), v1alpha1.AnnotationAllowEmpty)}
}

// refuse says whether an error means that the commit itself cannot be applied; nil means that something else went wrong.
func (p *pass) refuse(commit string, err error) *refusal {
	r := &refusal{commit: commit, generation: p.app.Generation, err: err}
	var objects apply.Errors
	var partial *partialError
	switch {
	case errors.As(err, &partial):
		return nil
	case errors.As(err, &objects):
		r.stage, r.temporary = "apply", objects.Temporary()
		return r
	}
	switch reason := source.ReasonOf(err); reason {
	case source.InvalidManifest, source.PathNotFound, source.InvalidSource:
		r.stage = "source"
		return r
	}
	return nil
}

// partialError is an apply that stopped half-way.
type partialError struct{ err error }

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

// advance applies a revision that is not, or not known to be, the applied one.
func (p *pass) advance(ctx context.Context, next *revision) error {
	previous := p.m.applied
	var read []v1alpha1.ObjectRef
	changed := map[diff.Key]bool{}
	var todo []*apply.Object
	for _, o := range next.objects {
		old := (*apply.Object)(nil)
		if previous != nil {
			old = previous.byKey[o.Key]
		}
		rec := p.m.sighting(o.Key)
		if old != nil && old.Hash == o.Hash && (rec.clean(o.Hash) || !reverts(&p.app.Spec)) && rec != nil && !rec.missing {
			continue // as it should be, or drifted and to be reported only
		}
		changed[o.Key] = old == nil || old.Hash != o.Hash
		todo = append(todo, o)
		read = append(read, o.Ref)
	}
	for _, r := range p.app.Status.Inventory {
		if _, wanted := next.byKey[diff.KeyOf(r)]; !wanted {
			read = append(read, r)
		}
	}
	w, err := p.write(ctx, next, todo, read, changed, true)
	c := w.counts
	c.unchanged = int32(len(next.objects)) - c.created - c.updated
	if err != nil {
		if len(w.measured) > 0 || w.pruned {
			err = &partialError{err}
			p.out.failed = fmt.Errorf("commit %s was applied only in part and is tried again: %w", short(next.commit.Hash), err)
			p.history(next.commit, resultFailed, err, c)
		}
		return err
	}
	if err := p.watch(ctx, next, false); err != nil {
		return err
	}
	p.m.adopt(next, w.measured, p.app.Spec.IgnoreDifferences, p.normalize)
	if err := p.survey(ctx, next); err != nil {
		return err
	}
	s := &p.app.Status
	s.AppliedRevision = next.commit.Hash
	s.AppliedSource = appliedSource(next.shape)
	s.LastAppliedTime = &metav1.MicroTime{Time: p.now()}
	s.UnhealthySince = nil
	p.history(next.commit, resultApplied, nil, c)
	p.event(p.app, corev1.EventTypeNormal, resultApplied, fmt.Sprintf("commit %s %q by %s: %d created, %d updated, %d pruned, %d unchanged (%s, %d ms)",
		short(next.commit.Hash), next.commit.Subject, next.commit.Author, c.created, c.updated, c.pruned, c.unchanged, p.trigger, p.now().Sub(p.began).Milliseconds()))
	return nil
}

// counts are what a sync did.
type counts struct{ created, updated, pruned, unchanged int32 }

// written is what a sync did, and what it saw of the objects.
type written struct {
	counts
	measured map[diff.Key]*sighting
	// changed says of each object that was applied whether that changed it.
	changed map[diff.Key]bool
	plan    diff.Plan
	pruned  bool
}

// write plans and carries out: todo are the objects that may need a request, read the live objects that the plan has to know.
func (p *pass) write(ctx context.Context, rev *revision, todo []*apply.Object, read []v1alpha1.ObjectRef, changed map[diff.Key]bool, preflight bool) (written, error) {
	w := written{measured: map[diff.Key]*sighting{}, changed: map[diff.Key]bool{}}
	cluster, err := p.as()
	if err != nil {
		return w, err
	}
	live, err := cluster.Live(ctx, read)
	if err != nil {
		return w, err
	}
	in := diff.Input{
		Application: mark(p.key), Live: live, Inventory: p.leftover(rev, todo), Prune: prunes(&p.app.Spec),
		Ignore: p.app.Spec.IgnoreDifferences, Normalize: p.normalize, Exists: p.exists,
	}
	for _, o := range todo {
		in.Wanted = append(in.Wanted, diff.Wanted{Ref: o.Ref, Desired: o.Desired, Changed: changed[o.Key]})
	}
	w.plan = diff.Make(in)
	if err := conflicts(rev, w.plan); err != nil {
		return w, err
	}
	changes, removals, inventory := p.steps(rev, w.plan, live)
	apply.HandOver(changes, removals)
	if preflight {
		if err := cluster.Preflight(ctx, changes, p.app.Namespace); err != nil {
			return w, err
		}
	}
	if err := p.extendInventory(ctx, inventory); err != nil {
		return w, err
	}
	results, err := cluster.Apply(ctx, changes, p.app.Namespace)
	for _, o := range todo {
		switch res, ok := results[o.Key]; {
		case ok:
			w.measured[o.Key] = p.m.wrote(o, res.Live, p.app.Spec.IgnoreDifferences, p.normalize)
			if res.Created {
				w.created++
			} else if res.Updated {
				w.updated++
			}
			w.changed[o.Key] = res.Created || res.Updated
		case err == nil:
			w.measured[o.Key] = measure(o, live[o.Key], p.m.settlement(o.Key), p.app.Spec.IgnoreDifferences, p.normalize)
		}
	}
	if err != nil {
		return w, err
	}
	done, kept, err := cluster.Prune(ctx, removals)
	w.pruned = len(done) > 0
	for _, k := range kept {
		p.event(p.app, corev1.EventTypeWarning, "NotPruned", fmt.Sprintf("%s stays in the cluster: %s", diff.KeyOf(k.Ref), k.Reason))
	}
	for _, r := range done {
		if slices.ContainsFunc(removals, func(x apply.Removal) bool { return x.Ref == r && !x.Release }) {
			w.counts.pruned++
		}
	}
	p.shrinkInventory(rev, w.plan, done)
	return w, err
}

// conflicts refuses to take objects from the Applications that had them first.
func conflicts(rev *revision, plan diff.Plan) error {
	var errs apply.Errors
	for _, s := range plan {
		if s.Action == diff.Conflict {
			errs = append(errs, &apply.Error{Source: rev.byKey[diff.KeyOf(s.Ref)].Source, Temporary: true, Message: fmt.Sprintf(
				"belongs to Application %s; remove it from one of the two, there first if it is to move here", strings.Replace(s.Reason, ".", "/", 1))})
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// steps turns a plan into requests, and into what the inventory must hold before the first of them.
func (p *pass) steps(rev *revision, plan diff.Plan, live map[diff.Key]*unstructured.Unstructured) (changes []apply.Change, removals []apply.Removal, inventory []v1alpha1.ObjectRef) {
	for _, s := range plan {
		k := diff.KeyOf(s.Ref)
		switch s.Action {
		case diff.Create:
			changes = append(changes, apply.Change{Object: rev.byKey[k]})
			inventory = append(inventory, s.Ref)
		case diff.Update:
			c := apply.Change{Object: rev.byKey[k], LiveVersion: live[k].GetResourceVersion()}
			if len(s.Ignored) > 0 {
				c.Without = diff.Remove(c.Object.Desired, s.Ignored)
			}
			changes = append(changes, c)
			inventory = append(inventory, s.Ref)
		case diff.Unchanged, diff.Held:
			inventory = append(inventory, s.Ref)
		case diff.Prune, diff.Release:
			removals = append(removals, apply.Removal{Ref: s.Ref, Live: live[k], Release: s.Action == diff.Release})
			if s.Action == diff.Release {
				p.event(p.app, corev1.EventTypeNormal, "Released", fmt.Sprintf("%s is no longer in Git and stays in the cluster: %s", k, s.Reason))
			}
		}
	}
	return changes, removals, inventory
}

// history adds an entry about a commit.
func (p *pass) history(c source.Commit, result string, err error, n counts) {
	if c.Subject == "" && c.Hash == p.m.head.Hash {
		c = p.m.head
	}
	e := v1alpha1.HistoryEntry{
		Revision: c.Hash, Message: clip(c.Subject, 256), Author: clip(c.Author, 256), Time: metav1.MicroTime{Time: p.now()}, Trigger: p.trigger, Result: result,
		Created: n.created, Updated: n.updated, Pruned: n.pruned, Unchanged: n.unchanged,
	}
	if err != nil {
		e.Error = err.Error()
	}
	addHistory(&p.app.Status, e)
}

// keysOf returns a revision's keys, sorted.
func keysOf(r *revision) []diff.Key {
	return slices.SortedFunc(maps.Keys(r.byKey), func(a, b diff.Key) int { return strings.Compare(a.String(), b.String()) })
}

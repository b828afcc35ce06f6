package gitops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/killpoint"
	"github.com/gitopsd/gitopsd/internal/source"
)

// sync brings the cluster to the commit that should be applied, and back to it where it drifted.
func (p *pass) sync(ctx context.Context) error {
	if err := p.recall(ctx); err != nil {
		return err
	}
	if err := p.recallRollout(ctx); err != nil {
		return err
	}
	if p.m.head.Hash == "" {
		return p.keep(ctx)
	}
	if err := p.unpin(ctx); err != nil {
		return err
	}
	goal := p.m.head
	if p.trigger != triggerRequest {
		goal.Hash = target(&p.app.Status, p.m.head.Hash, p.app.Generation)
	}
	if to, ok := pinned(p.app, p.m.head.Hash); ok {
		goal, p.out.pinned = p.commitFromHistory(to), true
		if p.trigger == "" {
			p.trigger = triggerRollback
		}
	}
	if p.m.measuredFor != p.app.Generation {
		p.m.remeasure()
		p.m.measuredFor = p.app.Generation
	}
	if r := p.m.applied; r != nil && !r.partial && r.commit.Hash == goal.Hash && r.shape == shapeOf(p.app.Spec) && r.extras == p.m.extras.fingerprint {
		p.m.refusal = nil
		return p.keep(ctx)
	}
	if failedRollout(&p.app.Status, goal.Hash, p.app.Generation, p.trigger) {
		p.out.failed = p.rolloutFailure()
		return p.keep(ctx)
	}
	if r := p.m.refusal; r.standing(goal.Hash, p.app.Generation, p.trigger) {
		p.out.refusal = r
		return p.keep(ctx)
	}
	if name, why := waitingFor(p.app, p.application); name != "" {
		p.out.waiting = fmt.Sprintf("%s waits for Application %s, on which it depends: %s", named(goal.Hash), name, why)
		return p.keep(ctx)
	}
	next, err := p.load(ctx, goal, shapeOf(p.app.Spec))
	if err == nil {
		p.m.rendered(next)
	}
	if err == nil && next.carried && p.notedLater() {
		p.spared = true
		p.out.head = source.Commit{}
		return p.keep(ctx)
	}
	if err == nil {
		err = p.mayEmpty(ctx, next)
	}
	if err == nil {
		err = p.advance(ctx, next)
	}
	if moving := (*movingError)(nil); errors.As(err, &moving) {
		p.out.waiting = moving.message
		p.repeat(movingAgain)
		return p.keep(ctx)
	}
	if errors.Is(err, errWaiting) {
		p.m.refusal = nil
		return p.keep(ctx)
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
	if p.out.failed == nil && !apierrors.IsConflict(err) {
		p.out.failed = fmt.Errorf("%s cannot be applied now and is tried again: %w", named(goal.Hash), err)
	}
	return err
}

// notedLater puts off, by a moment, that a commit is noted which changes nothing of this Application. When a push to a repository of a thousand
// Applications changes one, the others' notes would stand in its way.
func (p *pass) notedLater() bool {
	if p.trigger == triggerRequest || p.app.Status.Sync != syncSynced {
		return false
	}
	now := p.now()
	switch m := p.m; {
	case m.noteAt.IsZero():
		sharing, err := p.informer.GetIndexer().IndexKeys(indexRepo, source.Canonical(p.app.Spec.Source.RepoURL))
		if err != nil || len(sharing) <= workers {
			return false
		}
		m.noteAt = now.Add(noteDelay(len(sharing), rand.Float64()))
	case !now.Before(m.noteAt):
		m.noteAt = time.Time{}
		return false
	}
	p.repeat(p.m.noteAt.Sub(now))
	return true
}

// refuse says whether an error means that the commit itself cannot be applied, for now where what it names beside itself cannot be read; nil means
// that something else went wrong.
func (p *pass) refuse(commit string, err error) *refusal {
	r := &refusal{commit: commit, generation: p.app.Generation, err: err}
	var objects apply.Errors
	var partial *partialError
	var unread *source.Error
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
	if errors.As(err, &unread) {
		r.stage, r.temporary = "source", true
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
	steps := stepsOf(next, p.occasion())
	if inSteps(steps) && (p.rollout() != nil || !next.same(p.m.applied)) {
		if err := p.rollOut(ctx, next, steps); err != nil {
			return err
		}
		return p.endRollout(ctx, next)
	}
	w, err := p.plan(ctx, next, p.unsettled(next, next.objects))
	if err == nil {
		err = p.holdForReaders(w.plan, next.commit.Hash)
	}
	if err == nil {
		err = p.preflight(ctx, w.changes)
	}
	if err == nil && !inSteps(steps) {
		err = p.dropHooks(ctx, next)
	}
	if err == nil {
		err = p.carryOut(ctx, &w, len(next.waiting) == 0)
	}
	c := w.counts
	c.unchanged = int32(len(next.objects)) - c.created - c.updated
	if err != nil {
		var objects apply.Errors
		if len(w.measured) > 0 || w.pruned || errors.As(err, &objects) && objects.Removed() {
			p.history(next.commit, resultFailed, err, c)
			return p.inPart(next.commit, err)
		}
		return err
	}
	if err := p.watch(ctx, next, false); err != nil {
		return err
	}
	p.m.adopt(next, w.measured, p.judge)
	if err := p.survey(ctx, next); err != nil {
		return err
	}
	if len(next.waiting) > 0 {
		return p.inPart(next.commit, next.waiting)
	}
	p.noteApplied(next, c)
	return nil
}

// inPart says that a commit was applied only in part, and has it tried again.
func (p *pass) inPart(c source.Commit, err error) error {
	p.out.failed = fmt.Errorf("%s was applied only in part and is tried again: %w", named(c.Hash), err)
	return &partialError{err}
}

// noteApplied writes down that a revision was applied whole.
func (p *pass) noteApplied(next *revision, c counts) {
	s := &p.app.Status
	s.AppliedRevision = next.commit.Hash
	s.AppliedSource = appliedSource(next.shape)
	s.Omitted = int32(next.omitted)
	s.LastAppliedTime = &metav1.MicroTime{Time: p.now()}
	s.UnhealthySince = nil
	s.Rollout = nil
	p.noted = true
	if next.carried && c == (counts{unchanged: c.unchanged}) {
		return // it is the same as before, and there is nothing to tell
	}
	p.history(next.commit, resultApplied, nil, c)
	p.event(p.app, corev1.EventTypeNormal, resultApplied, fmt.Sprintf("%s %q by %s: %d created, %d updated, %d pruned, %d unchanged (%s, %d ms)",
		named(next.commit.Hash), next.commit.Subject, next.commit.Author, c.created, c.updated, c.pruned, c.unchanged, p.trigger, p.now().Sub(p.began).Milliseconds()))
}

// counts are what a sync did.
type counts struct{ created, updated, pruned, unchanged int32 }

// written is what a sync is about to do, what it did, and what it saw of the objects.
type written struct {
	rev  *revision
	todo []*apply.Object
	live map[diff.Key]*unstructured.Unstructured
	plan diff.Plan
	// changes and removals are the requests that the plan asks for; inventory is what has to be written down before the first of them.
	changes   []apply.Change
	removals  []apply.Removal
	inventory []v1alpha1.ObjectRef

	counts
	measured map[diff.Key]*sighting
	// changed says of each object that was applied whether that changed it.
	changed map[diff.Key]bool
	pruned  bool
}

// plan finds out what has to be done about the objects in todo, and about what the revision no longer has.
func (p *pass) plan(ctx context.Context, rev *revision, todo []*apply.Object) (written, error) {
	w := written{rev: rev, todo: todo, measured: map[diff.Key]*sighting{}, changed: map[diff.Key]bool{}}
	cluster, err := p.as()
	if err != nil {
		return w, err
	}
	refs := p.gone(rev)
	for _, o := range todo {
		refs = append(refs, o.Ref)
	}
	if w.live, err = cluster.Live(ctx, refs); err != nil {
		if unread := (*apply.Unread)(nil); errors.As(err, &unread) {
			err = unread.In(rev.byKey)
		}
		return w, err
	}
	in := diff.Input{
		Application: mark(p.key), Live: w.live, Inventory: p.leftover(rev, todo), Prune: prunes(&p.app.Spec),
		Ignore: p.judge.ignore, Normalize: p.normalize, Exists: p.exists, Claimed: func(k diff.Key) string { return p.claimed(ctx, k) },
	}
	for _, o := range todo {
		in.Wanted = append(in.Wanted, diff.Wanted{Ref: o.Ref, Desired: o.Desired, Changed: !p.m.applied.brought(o)})
	}
	w.plan = diff.Make(in)
	if err := p.conflicts(rev, w.plan); err != nil {
		return w, err
	}
	w.requests()
	apply.HandOver(w.changes, w.removals)
	return w, nil
}

// preflight has the server try changes.
func (p *pass) preflight(ctx context.Context, changes []apply.Change) error {
	cluster, err := p.as()
	if err != nil {
		return err
	}
	return cluster.Preflight(ctx, changes, p.app.Namespace)
}

// carryOut does what was planned; what Git dropped goes only with prune.
func (p *pass) carryOut(ctx context.Context, w *written, prune bool) error {
	cluster, err := p.as()
	if err != nil {
		return err
	}
	if err := p.extendInventory(ctx, w.inventory); err != nil {
		return err
	}
	killpoint.Reach("inventory")
	results, err := cluster.Apply(ctx, w.changes, p.app.Namespace)
	killpoint.Reach("applied")
	for _, o := range w.todo {
		switch res, ok := results[o.Key]; {
		case ok:
			w.measured[o.Key] = p.m.wrote(o, res.Live, p.judge)
			if res.Created {
				w.created++
			} else if res.Updated {
				w.updated++
			}
			w.changed[o.Key] = res.Created || res.Updated
		case err == nil:
			w.measured[o.Key] = measure(o, w.live[o.Key], p.m.settlement(o.Key), p.judge)
		}
	}
	if err != nil || !prune {
		return err
	}
	done, err := p.prune(ctx, cluster, w.plan, w.removals)
	killpoint.Reach("pruned")
	w.pruned = len(done) > 0
	for _, r := range done {
		if slices.ContainsFunc(w.removals, func(x apply.Removal) bool { return x.Ref == r && !x.Release }) {
			w.counts.pruned++
		}
	}
	p.shrinkInventory(w.rev, w.plan, done)
	return err
}

// removalOf is the request that a step asks for about an object which Git no longer has.
func removalOf(s diff.Step, live *unstructured.Unstructured) (apply.Removal, bool) {
	r := apply.Removal{Ref: s.Ref, Live: live}
	switch s.Action {
	case diff.Prune:
	case diff.Release:
		r.Release = true
	case diff.Move:
		r.Release, r.Successor = true, s.Reason
	default:
		return r, false
	}
	return r, true
}

// prune deletes and releases what a plan says, and tells of what stays.
func (p *pass) prune(ctx context.Context, cluster *apply.Cluster, plan diff.Plan, removals []apply.Removal) ([]v1alpha1.ObjectRef, error) {
	done, kept, err := cluster.Prune(ctx, removals)
	for _, k := range kept {
		p.event(p.app, corev1.EventTypeWarning, "NotPruned", fmt.Sprintf("%s stays in the cluster: %s", diff.KeyOf(k.Ref), k.Reason))
	}
	for _, s := range plan {
		if s.Action == diff.Move && slices.Contains(done, s.Ref) {
			p.handedOver(s)
		}
		if s.Action == diff.Release && slices.Contains(done, s.Ref) {
			p.event(p.app, corev1.EventTypeNormal, "Released", fmt.Sprintf("%s is no longer in Git and stays in the cluster: %s", diff.KeyOf(s.Ref), s.Reason))
		}
	}
	return done, err
}

// requests turns the plan into requests, and into what the inventory must hold before the first of them.
func (w *written) requests() {
	for _, s := range w.plan {
		k := diff.KeyOf(s.Ref)
		o := w.rev.byKey[k]
		switch {
		case s.Action == diff.Create:
			w.changes = append(w.changes, apply.Change{Object: o})
			w.inventory = append(w.inventory, s.Ref)
		case s.Action == diff.Update && !o.Asks.Once:
			c := apply.Change{Object: o, LiveVersion: w.live[k].GetResourceVersion()}
			if len(s.Ignored) > 0 {
				c.Without = diff.Remove(c.Object.Desired, s.Ignored)
			}
			w.changes = append(w.changes, c)
			w.inventory = append(w.inventory, s.Ref)
		case s.Action == diff.Update, s.Action == diff.Unchanged, s.Action == diff.Held:
			w.inventory = append(w.inventory, s.Ref)
		default:
			if r, ok := removalOf(s, w.live[k]); ok {
				w.removals = append(w.removals, r)
			}
		}
	}
}

// history adds an entry about a commit.
func (p *pass) history(c source.Commit, result string, err error, n counts) {
	if c.Subject == "" && c.Hash == p.m.head.Hash {
		c = p.m.head
	}
	syncs.WithLabelValues(p.key.Namespace, p.key.Name, result).Inc()
	if result == resultApplied {
		syncTime.WithLabelValues(p.trigger).Observe(p.now().Sub(p.began).Seconds())
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

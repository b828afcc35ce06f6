package gitops

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/health"
	"github.com/gitopsd/gitopsd/internal/reconcile"
	"github.com/gitopsd/gitopsd/internal/source"
)

func keyIn(namespace, name string) reconcile.Key {
	return reconcile.Key{Namespace: namespace, Name: name}
}

// keep holds the cluster at the revision that is applied: it reads what no watch has shown yet, and sets drift back if the Application wants
// that. Then it looks after health.
func (p *pass) keep(ctx context.Context) error {
	applied := p.m.applied
	if applied == nil {
		return nil
	}
	if err := p.survey(ctx, applied); err != nil {
		return err
	}
	if reverts(&p.app.Spec) {
		if err := p.revert(ctx, applied); err != nil {
			return err
		}
	}
	return p.health(ctx)
}

// survey reads the objects about which nothing is known: those that a watch has not shown since the start, which are missing or lost their label.
func (p *pass) survey(ctx context.Context, r *revision) error {
	var refs []v1alpha1.ObjectRef
	for _, o := range r.objects {
		if rec := p.m.sighting(o.Key); rec == nil || rec.hash != o.Hash || rec.missing {
			refs = append(refs, o.Ref)
		}
	}
	if len(refs) == 0 {
		return nil
	}
	live, err := p.cluster.Live(ctx, refs)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		o := r.byKey[diff.KeyOf(ref)]
		p.m.put(o.Key, measure(o, live[o.Key], p.m.settlement(o.Key), p.judge))
	}
	return nil
}

// revert applies the drifted objects again, those excepted that somebody changes again and again.
func (p *pass) revert(ctx context.Context, r *revision) error {
	now := p.now()
	var todo []*apply.Object
	for _, o := range r.objects {
		rec := p.m.sighting(o.Key)
		if rec == nil || rec.clean(o.Hash) || rec.override != nil {
			continue
		}
		if wait := revertDelay(p.m.reverts[o.Key], now); wait > 0 {
			p.repeat(wait)
			p.out.fighting = fmt.Sprintf("%s is changed again after every revert, so the next one waits %s; stop whoever does it, or list the field in spec.ignoreDifferences",
				o.Key, wait.Round(time.Second))
			continue
		}
		todo = append(todo, o)
	}
	if len(todo) == 0 {
		return nil
	}
	w, err := p.plan(ctx, r, todo)
	if err == nil {
		err = p.carryOut(ctx, &w, !r.partial)
	}
	for k, rec := range w.measured {
		p.m.put(k, rec)
	}
	if err != nil {
		p.out.failed = fmt.Errorf("drift cannot be set back: %w", err)
		return fmt.Errorf("reverting drift of Application %s: %w", p.key, err)
	}
	p.reverted(r, w, now)
	return nil
}

// gone lists what is in the inventory and not in the revision.
func (p *pass) gone(r *revision) []v1alpha1.ObjectRef {
	return slices.DeleteFunc(slices.Clone(p.app.Status.Inventory), func(ref v1alpha1.ObjectRef) bool {
		return r.has(diff.KeyOf(ref))
	})
}

// reverted notes in status, history and Events what was set back, and who had changed it.
func (p *pass) reverted(r *revision, w written, now time.Time) {
	// Whatever began the pass, such as a webhook for the commit that is applied already: what was written was written because of drift.
	p.trigger = triggerDrift
	s := &p.app.Status
	written := false
	for _, step := range w.plan {
		k := diff.KeyOf(step.Ref)
		if !w.changed[k] {
			continue
		}
		written = true
		p.m.reverts[k] = remember(p.m.reverts[k], now)
		drift := diff.Describe(step.Ref, step.Fields)
		if step.Action != diff.Update {
			gone := p.absent(r.byKey[k])
			if gone.Time == nil {
				gone.Time = &metav1.Time{Time: now}
			}
			drift = []v1alpha1.FieldDrift{gone}
		}
		revertCount.WithLabelValues(p.key.Namespace, p.key.Name).Add(float64(len(drift)))
		for _, d := range locate(r.byKey[k], drift) {
			s.Reverted = slices.Insert(s.Reverted, 0, d)
			p.event(p.app, corev1.EventTypeWarning, "Reverted", "set back to Git's value: "+describeDrift(d))
		}
	}
	s.Reverted = bound(s.Reverted, revertedLength)
	if written && !r.partial { // the history tells of commits that were applied whole
		c := w.counts
		c.unchanged = int32(len(r.objects)) - c.created - c.updated
		p.history(r.commit, resultApplied, nil, c)
	}
}

// absent describes an object that is not in the cluster, and says who deleted it where that is known.
func (p *pass) absent(o *apply.Object) v1alpha1.FieldDrift {
	d := v1alpha1.FieldDrift{ObjectRef: o.Ref}
	if p.deletedBy == nil {
		return d
	}
	if user, at, ok := p.deletedBy(o.Resource.GroupResource(), o.Ref.Namespace, o.Ref.Name); ok {
		// Whole seconds, so that what is written down reads back the same.
		d.User, d.Time = user, &metav1.Time{Time: at.Truncate(time.Second)}
	}
	return d
}

// locate adds to each drifted field where Git sets it.
func locate(o *apply.Object, drift []v1alpha1.FieldDrift) []v1alpha1.FieldDrift {
	for i := range drift {
		drift[i].File, drift[i].Line = o.Source.Origin.File, o.Source.Origin.Line
		if drift[i].Field != "" {
			drift[i].File, drift[i].Line = o.Place(drift[i].Field)
		}
	}
	return drift
}

// observe puts what is known of the applied revision's objects into the outlook.
func (p *pass) observe() {
	r := p.m.applied
	if r == nil {
		return
	}
	p.out.measured, p.out.partial = true, r.partial
	for _, k := range keysOf(r) {
		o, rec := r.byKey[k], p.m.sighting(k)
		switch {
		case rec == nil || rec.hash != o.Hash:
			p.out.measured = false
			continue
		case rec.missing:
			p.out.drift = append(p.out.drift, locate(o, []v1alpha1.FieldDrift{p.absent(o)})...)
		default:
			drift := locate(o, diff.Describe(o.Ref, rec.drift))
			for i := range drift {
				drift[i].Override = rec.override
			}
			p.out.drift = append(p.out.drift, drift...)
		}
		if rec.health.Status != health.Healthy {
			p.out.health = append(p.out.health, v1alpha1.ObjectHealth{ObjectRef: o.Ref, Health: string(rec.health.Status), Message: clip(rec.health.Message, 512)})
		}
	}
}

// health looks whether the applied commit had its time to become healthy, and takes it back if the Application wants that.
func (p *pass) health(ctx context.Context) error {
	s := &p.app.Status
	late, left := overdue(s, p.app.Spec.HealthTimeout, p.now())
	if left > 0 {
		p.repeat(left)
	}
	p.out.late = late
	if p.rollout() != nil || p.out.pinned || !shouldRollBack(&p.app.Spec, s, late) {
		return nil
	}
	if p.trigger == "" {
		p.trigger = triggerRollback
	}
	why := fmt.Errorf("not healthy in time; rolled back to %s", named(s.HealthyRevision))
	for _, u := range s.Unhealthy {
		why = fmt.Errorf("%w; %s: %s", why, diff.KeyOf(u.ObjectRef), u.Message)
	}
	return p.rollBack(ctx, p.commitFromHistory(s.AppliedRevision), why)
}

// rollBack applies the last commit that was healthy in the place of one that did not become so.
func (p *pass) rollBack(ctx context.Context, bad source.Commit, why error) error {
	good, err := p.load(ctx, p.commitFromHistory(p.app.Status.HealthyRevision), shapeOf(p.app.Spec))
	if err != nil {
		return fmt.Errorf("rolling Application %s back to %s: %w", p.key, named(p.app.Status.HealthyRevision), err)
	}
	p.history(bad, resultRolledBack, why, counts{})
	p.event(p.app, corev1.EventTypeWarning, resultRolledBack, fmt.Sprintf("%s: %s", named(bad.Hash), why))
	return p.advance(ctx, good)
}

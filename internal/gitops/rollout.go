package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/directive"
	"github.com/gitopsd/gitopsd/internal/killpoint"
)

// occasion tells whether anything of the Application has ever been applied whole.
func (p *pass) occasion() directive.Occasion {
	if p.app.Status.AppliedRevision == "" {
		return directive.Install
	}
	return directive.Upgrade
}

// errWaiting ends a pass in the midst of a rollout: an event will start the next one.
var errWaiting = errors.New("waiting for a step of the rollout")

// rollOut applies a revision step by step. What it has done is in the Application's status and in the objects themselves, so it goes on after a restart
// where it was: a step that was cut off is taken again, which writes only what is not there yet. It returns errWaiting while a step is under way, and nil
// once all are done or one has failed for good.
func (p *pass) rollOut(ctx context.Context, next *revision, steps []step) error {
	if err := p.beginRollout(ctx, next, steps); err != nil {
		return err
	}
	p.m.expect(next.hooks)
	if err := p.watch(ctx, next, false); err != nil {
		return err
	}
	if p.rollout().Failure != "" {
		return p.afterFailure(ctx, next)
	}
	for {
		index := int(p.rollout().Step) - 1
		s := steps[index]
		p.rollout().Phase, p.rollout().Wave = string(s.phase), int32(s.wave)
		if err := p.take(ctx, next, steps, index); err != nil {
			return err
		}
		waiting, failed, err := p.runHooks(ctx, s)
		if err == nil && failed == "" && waiting == "" && index < len(steps)-1 {
			waiting, err = p.objectsOf(ctx, s) // with nothing after it there is nothing to hold up
		}
		if err != nil {
			return err
		}
		ro := p.rollout()
		if failed == "" && waiting != "" {
			left := ro.StepTime.Add(healthTimeout(&p.app.Spec)).Sub(p.now())
			if left > 0 {
				p.repeat(left)
				p.out.rolling = fmt.Sprintf("%s, step %d of %d (%s): waiting for %s", named(ro.Revision), ro.Step, ro.Steps, s.title(), waiting)
				return errWaiting
			}
			failed = fmt.Sprintf("not healthy within %s: %s", healthTimeout(&p.app.Spec), waiting)
		}
		if failed != "" {
			ro.Failure = fmt.Sprintf("step %d of %d (%s): %s", ro.Step, ro.Steps, s.title(), failed)
			ro.Phase, ro.Wave, ro.StepTime = string(directive.SyncFail), 0, metav1.MicroTime{Time: p.now()}
			return p.afterFailure(ctx, next)
		}
		if index == len(steps)-1 {
			return nil
		}
		killpoint.Reach("next-step")
		ro.Step++
		ro.StepTime = metav1.MicroTime{Time: p.now()}
	}
}

// beginRollout returns the rollout of the revision that is under way, or begins it: with a trial of everything, so that a commit that the cluster would
// not take is refused before its first hook runs.
func (p *pass) beginRollout(ctx context.Context, next *revision, steps []step) error {
	ro, content := p.rollout(), next.fingerprint()
	if ro != nil && ro.Revision == next.commit.Hash && int(ro.Steps) == len(steps) && goesOn(ro, p.app.Generation, p.trigger, p.m.rolling, content) {
		if ro.Generation != p.app.Generation {
			// The spec speaks of something else now, or the Application was suspended: the step has its time again.
			ro.Generation, ro.StepTime = p.app.Generation, metav1.MicroTime{Time: p.now()}
		}
		p.trigger, p.m.rolling = ro.Trigger, content
		return nil
	}
	if err := p.try(ctx, next); err != nil {
		return err
	}
	killpoint.Reach("preflighted")
	if err := p.dropHooks(ctx, next); err != nil {
		return err
	}
	before := p.app.Status.DeepCopy()
	now := metav1.MicroTime{Time: p.now()}
	p.m.recalled, p.m.rolling = true, content
	p.app.Status.Rollout = &v1alpha1.Rollout{
		Revision: next.commit.Hash, Generation: p.app.Generation, Trigger: p.trigger, Step: 1, Steps: int32(len(steps)),
		Phase: string(steps[0].phase), Wave: int32(steps[0].wave), StartTime: now, StepTime: now,
	}
	if err := p.writeStatus(ctx, before); err != nil { // before the first hook, so that after a crash it is known to have been this run's
		return err
	}
	killpoint.Reach("begun")
	return nil
}

// goesOn says whether a rollout of the same commit goes on. What the commit is rendered to must be what it was, which known tells, and after a start, when that is
// empty, the spec's generation. One that failed is tried again when the spec changes or somebody asks.
func goesOn(ro *v1alpha1.Rollout, generation int64, trigger, known, content string) bool {
	switch {
	case ro.Failure != "":
		return ro.Generation == generation && trigger != triggerRequest
	case known != "":
		return known == content
	}
	return ro.Generation == generation
}

// rollout is the one in the status, which every write of the status makes anew.
func (p *pass) rollout() *v1alpha1.Rollout { return p.app.Status.Rollout }

// phaseFailed is the phase of a rollout that failed and has nothing more to do.
const phaseFailed = "Failed"

// failedRollout says whether the revision has failed already, so that it stays where it is.
func failedRollout(s *v1alpha1.ApplicationStatus, commit string, generation int64, trigger string) bool {
	ro := s.Rollout
	return ro != nil && ro.Phase == phaseFailed && ro.Revision == commit && ro.Generation == generation && trigger != triggerRequest
}

// try has the server try a whole revision, hooks included.
func (p *pass) try(ctx context.Context, next *revision) error {
	cluster, err := p.as()
	if err != nil {
		return err
	}
	w, err := p.plan(ctx, next, p.unsettled(next, next.objects))
	if err != nil {
		return err
	}
	if err := p.holdForReaders(w.plan, next.commit.Hash); err != nil {
		return err
	}
	for _, o := range next.hooks {
		w.changes = append(w.changes, apply.Change{Object: o})
	}
	return cluster.Preflight(ctx, w.changes, p.app.Namespace)
}

// take applies the objects of a step, and after the last of them prunes. From then on the cluster is compared with what the steps have brought so far.
func (p *pass) take(ctx context.Context, next *revision, steps []step, index int) error {
	s, last := steps[index], index == lastOfSync(steps)
	rev := upTo(next, p.m.applied, steps, index)
	if last {
		rev = next.unfinished()
	}
	var w written
	todo := p.unsettled(next, s.objects)
	if len(todo) > 0 || last {
		var err error
		if w, err = p.plan(ctx, next, todo); err == nil {
			err = p.carryOut(ctx, &w, last && len(next.waiting) == 0)
		}
		ro := p.rollout()
		ro.Created, ro.Updated, ro.Pruned = ro.Created+w.created, ro.Updated+w.updated, ro.Pruned+w.counts.pruned
		if err != nil {
			err = fmt.Errorf("step %d of %d (%s): %w", ro.Step, ro.Steps, s.title(), err)
			p.history(next.commit, resultFailed, err, w.counts)
			return p.inPart(next.commit, err)
		}
	}
	p.m.adopt(rev, w.measured, p.judge)
	return nil
}

// objectsOf says which object of a step is still to be waited for.
func (p *pass) objectsOf(ctx context.Context, s step) (waiting string, err error) {
	if len(s.objects) == 0 {
		return "", nil
	}
	if err := p.survey(ctx, p.m.applied); err != nil {
		return "", err
	}
	return holds(s, p.m.sighting), nil
}

// afterFailure runs the hooks that are for that, and then says how it ended.
func (p *pass) afterFailure(ctx context.Context, next *revision) error {
	ro := p.rollout()
	late := p.now().Sub(ro.StepTime.Time) > healthTimeout(&p.app.Spec)
	for _, s := range stepsAfterFailure(next, p.occasion()) {
		waiting, _, err := p.runHooks(ctx, s)
		if err != nil {
			return err
		}
		if waiting != "" && !late {
			p.repeat(ro.StepTime.Add(healthTimeout(&p.app.Spec)).Sub(p.now()))
			p.out.rolling = fmt.Sprintf("%s failed and its %s hooks run: waiting for %s", named(ro.Revision), s.phase, waiting)
			return errWaiting
		}
	}
	return nil
}

// endRollout notes the end of a rollout, and takes the commit back if it failed and the Application wants that.
func (p *pass) endRollout(ctx context.Context, next *revision) error {
	s, ro := &p.app.Status, p.rollout()
	if ro.Failure == "" {
		killpoint.Reach("finished")
		p.m.finish(next)
		if len(next.waiting) > 0 {
			return p.inPart(next.commit, next.waiting)
		}
		p.noteApplied(next, counts{created: ro.Created, updated: ro.Updated, pruned: ro.Pruned, unchanged: max(0, int32(len(next.objects))-ro.Created-ro.Updated)})
		return nil
	}
	ro.Phase = phaseFailed
	why := errors.New(ro.Failure)
	if p.app.Spec.OnFailure != v1alpha1.FailureRollback || s.HealthyRevision == "" || s.HealthyRevision == ro.Revision {
		p.history(next.commit, resultFailed, why, counts{created: ro.Created, updated: ro.Updated})
		p.event(p.app, corev1.EventTypeWarning, reasonRolloutFailed, fmt.Sprintf("%s: %s", named(ro.Revision), ro.Failure))
		p.out.failed = p.rolloutFailure()
		return nil
	}
	return p.rollBack(ctx, next.commit, fmt.Errorf("%w; rolled back to %s", why, named(s.HealthyRevision)))
}

// rolloutFailure is how the status speaks of a commit that stopped at a step.
func (p *pass) rolloutFailure() error {
	ro := p.rollout()
	return fmt.Errorf("%s stopped at %s; push a fix, or try it again with gitopsd sync", named(ro.Revision), ro.Failure)
}

// unsettled are those of a revision's objects that are not known to be in the cluster as the revision has them.
func (p *pass) unsettled(next *revision, objects []*apply.Object) []*apply.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(o *apply.Object) bool {
		rec := p.m.sighting(o.Key)
		// As it should be, or drifted and to be reported only.
		return p.m.applied.brought(o) && rec != nil && !rec.missing && (rec.clean(o.Hash) || !reverts(&p.app.Spec))
	})
}

package gitops

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/reconcile"
	"github.com/gitopsd/gitopsd/internal/source"
)

// One commit may take an object out of one Application's folder and put it into another's. The object is then handed over as it is: the first must not
// prune it before the second has had a chance to say that it wants it, and the second waits until it is let go.

const (
	// movingAgain is when an Application that waits for another looks again, if no word comes before.
	movingAgain = time.Second
	// longestHold bounds the wait for others to read a commit: one whose repository cannot be read must not keep everything else from being pruned.
	longestHold = 10 * time.Second
)

// movingError ends a pass that waits for another Application.
type movingError struct{ message string }

func (e *movingError) Error() string { return e.message }

// rendered notes the objects of a commit, whatever becomes of it.
func (m *memory) rendered(r *revision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newest = r
}

// wants says whether the newest commit that was rendered has the object; known is false before there is one.
func (m *memory) wants(k diff.Key) (wants, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.newest != nil && m.newest.byKey[k] != nil, m.newest != nil
}

// wanted is the object as the newest commit has it; nil when it does not.
func (m *memory) wanted(k diff.Key) *apply.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.newest == nil {
		return nil
	}
	return m.newest.byKey[k]
}

// others lists the Applications besides this one that can take something over.
func (p *pass) others() map[reconcile.Key]*memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[reconcile.Key]*memory, len(p.memories))
	for k, m := range p.memories {
		if k != p.key {
			out[k] = m
		}
	}
	return out
}

// active returns an Application that acts: one that is neither suspended nor being deleted; nil for others.
func (p *pass) active(k reconcile.Key) *v1alpha1.Application {
	app := p.application(k)
	if app == nil || app.Spec.Suspend || app.DeletionTimestamp != nil {
		return nil
	}
	return app
}

// claimed is the mark of another Application that wants an object and may have it; empty for none.
func (p *pass) claimed(ctx context.Context, k diff.Key) string {
	for other, m := range p.others() {
		if o := m.wanted(k); o != nil {
			if app := p.active(other); app != nil && p.mayWrite(ctx, app, o) {
				return mark(other)
			}
		}
	}
	return ""
}

// mayWrite says whether an Application's account may write an object: to name another's object in one's own repository must not be enough to get it.
func (p *pass) mayWrite(ctx context.Context, app *v1alpha1.Application, o *apply.Object) bool {
	allowed, err := p.may(ctx, app, authorizationv1.ResourceAttributes{
		Verb: "patch", Group: o.Resource.Group, Version: o.Resource.Version, Resource: o.Resource.Resource, Namespace: o.Ref.Namespace, Name: o.Ref.Name,
	})
	if err != nil {
		p.log.Warn("cannot ask what an account may do", "application", keyOf(app).String(), "account", app.Spec.ServiceAccountName, "err", err)
	}
	return allowed
}

// follows says whether another Application is moved by the same pushes as this one.
func (p *pass) follows(other *v1alpha1.Application) bool {
	a, b := p.app.Spec.Source, other.Spec.Source
	return !alone(a.RepoURL) && source.Canonical(a.RepoURL) == source.Canonical(b.RepoURL) && a.Ref.SemVer == b.Ref.SemVer && source.RefName(a.Ref) == source.RefName(b.Ref) && a.Ref.Commit == ""
}

// behind says whether another Application has still to read a commit that it will read, and has it look once.
func (p *pass) behind(k reconcile.Key, m *memory, commit string) bool {
	other := p.active(k)
	m.mu.Lock()
	read, asked := m.read, m.askedFor
	m.askedFor = commit
	m.mu.Unlock()
	if other == nil || read == commit || !p.follows(other) || meta.IsStatusConditionFalse(other.Status.Conditions, v1alpha1.ConditionSourceReady) {
		return false
	}
	if asked != commit {
		m.ask(triggerMove, p.began)
		p.loop.Enqueue(k)
	}
	return true
}

// holdForReaders holds a commit that drops something until the other Applications of the repository have read it, for one of them may want it.
func (p *pass) holdForReaders(plan diff.Plan, commit string) error {
	if !slices.ContainsFunc(plan, func(s diff.Step) bool { return s.Action == diff.Prune }) {
		p.hold(false) // from a commit before, which dropped something
		return nil
	}
	if p.m.heldFor != commit {
		p.m.heldFor, p.m.heldSince = commit, p.began
	}
	if p.began.Sub(p.m.heldSince) > longestHold {
		p.hold(false)
		return nil
	}
	p.hold(true) // before looking, so that nobody's word is missed
	for k, m := range p.others() {
		if p.behind(k, m, commit) {
			return &movingError{fmt.Sprintf("%s drops objects: waiting for Application %s, which follows the same repository, to read it, so that nothing is deleted that moves there", named(commit), k)}
		}
	}
	p.hold(false)
	return nil
}

// hold notes whether this Application waits for what others read.
func (p *pass) hold(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes {
		p.held[p.key] = true
	} else {
		delete(p.held, p.key)
	}
}

// hasRead notes that the pass has taken the commit at the ref into account, and tells those that wait for that.
func (p *pass) hasRead() {
	m := p.m
	m.mu.Lock()
	news := m.read != m.head.Hash
	m.read = m.head.Hash
	m.mu.Unlock()
	if !news {
		return
	}
	p.mu.Lock()
	waiting := slices.Collect(maps.Keys(p.held))
	p.mu.Unlock()
	for _, k := range waiting {
		if k != p.key {
			p.loop.Enqueue(k)
		}
	}
}

// conflicts refuses to take objects from the Applications that had them first, and waits for those that are about to let go of theirs.
func (p *pass) conflicts(rev *revision, plan diff.Plan) error {
	var errs apply.Errors
	var moving error
	for _, s := range plan {
		if s.Action != diff.Conflict {
			continue
		}
		k := diff.KeyOf(s.Ref)
		if p.lettingGo(s.Reason, k, rev.commit.Hash) {
			moving = &movingError{fmt.Sprintf("%s has %s, which is still Application %s's: waiting for that to let go of it", named(rev.commit.Hash), k, slashed(s.Reason))}
			continue
		}
		errs = append(errs, &apply.Error{Source: rev.byKey[k].Source, Temporary: true, Message: fmt.Sprintf(
			"belongs to Application %s; remove it from one of the two, there first if it is to move here", slashed(s.Reason))})
	}
	if len(errs) > 0 {
		return errs
	}
	return moving
}

// slashed is how messages call the Application with a mark.
func slashed(mark string) string { return strings.Replace(mark, ".", "/", 1) }

// lettingGo says whether the Application with the mark no longer wants an object, or may not when it has read the commit.
func (p *pass) lettingGo(owner string, k diff.Key, commit string) bool {
	p.mu.Lock()
	key, ok := p.marks[owner]
	m := p.memories[key]
	p.mu.Unlock()
	if !ok || m == nil || p.active(key) == nil {
		return false
	}
	if p.behind(key, m, commit) {
		return true
	}
	wants, known := m.wants(k)
	return known && !wants
}

// handedOver tells of an object that another Application has now, and has that look at it.
func (p *pass) handedOver(s diff.Step) {
	p.event(p.app, corev1.EventTypeNormal, "Moved", fmt.Sprintf("%s belongs to Application %s now", diff.KeyOf(s.Ref), slashed(s.Reason)))
	p.mu.Lock()
	key, ok := p.marks[s.Reason]
	m := p.memories[key]
	p.mu.Unlock()
	if ok && m != nil {
		m.ask(triggerMove, p.began)
		p.loop.Enqueue(key)
	}
}

package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/killpoint"
)

// runHooks brings the hooks of a step on, and says what it still waits for, or which hook failed.
func (p *pass) runHooks(ctx context.Context, s step) (waiting, failed string, err error) {
	if len(s.hooks) == 0 {
		return "", "", nil
	}
	cluster, err := p.as()
	if err != nil {
		return "", "", err
	}
	before := p.app.Status.DeepCopy()
	status := &p.app.Status
	run := runOf(p.rollout(), s.phase)
	refs := make([]v1alpha1.ObjectRef, 0, len(s.hooks))
	for _, o := range s.hooks {
		refs = append(refs, o.Ref)
	}
	live, err := cluster.Live(ctx, refs)
	if err != nil {
		return "", "", err
	}
	ended := 0
	for _, o := range s.hooks {
		v := decideHook(o, mark(p.key), run, p.adopted(o.Key), noted(status.Hooks, run, o.Key), live[o.Key], p.judge.checks)
		switch v.act {
		case hookStart:
			if live[o.Key], err = cluster.Run(ctx, o, run); err != nil {
				v = notStarted(err)
				p.repeat(hookAgain)
			}
			killpoint.Reach("hook-started")
		case hookClear:
			err = cluster.Discard(ctx, o, live[o.Key])
		}
		if ctx.Err() != nil || v.act == hookClear && err != nil {
			return "", "", err
		}
		was := noted(status.Hooks, run, o.Key)
		if was == nil || was.Result != v.result || was.Message != clip(v.message, 512) {
			status.Hooks = note(status.Hooks, v1alpha1.HookStatus{ObjectRef: o.Ref, Run: run, Phase: string(s.phase), Result: v.result, Message: clip(v.message, 512)})
		}
		switch {
		case v.result == hookRunning:
			waiting = fmt.Sprintf("hook %s: %s", o.Key, v.message)
			continue
		case v.result == hookFailed:
			failed = fmt.Sprintf("hook %s (%s) failed: %s", o.Key, o.Source.Position(), v.message)
			if was == nil || was.Result != hookFailed {
				p.event(p.app, corev1.EventTypeWarning, "HookFailed", failed)
			}
		}
		ended++
	}
	if ended < len(s.hooks) {
		return waiting, "", nil // one that failed is told when the others have ended too
	}
	return "", failed, p.discardHooks(ctx, cluster, before, s, run, live)
}

// adopted says whether an object was there before the Application took it over.
func (p *pass) adopted(k diff.Key) bool {
	return slices.ContainsFunc(p.app.Status.Inventory, func(r v1alpha1.ObjectRef) bool { return r.Adopted && diff.KeyOf(r) == k })
}

// hookAgain is the time after which a hook that could not be started is tried again.
const hookAgain = 5 * time.Second

// notStarted says what it means that a hook's object was not taken. What may pass, such as a full quota, is waited for as the hook itself would be.
func notStarted(err error) hookVerdict {
	var refused apply.Errors
	if errors.As(err, &refused) && !refused.Temporary() {
		return hookVerdict{hookEnd, hookFailed, err.Error()}
	}
	return hookVerdict{hookWait, hookRunning, "it cannot be started: " + err.Error()}
}

// discardHooks deletes the objects of hooks that are not to stay, after it is written down how they ended.
func (p *pass) discardHooks(ctx context.Context, cluster *apply.Cluster, before *v1alpha1.ApplicationStatus, s step, run string, live map[diff.Key]*unstructured.Unstructured) error {
	var todo []*apply.Object
	for _, o := range s.hooks {
		if n := noted(p.app.Status.Hooks, run, o.Key); n != nil && !n.Deleted && discards(o, n.Result) {
			todo = append(todo, o)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if err := p.writeStatus(ctx, before); err != nil {
		return err
	}
	killpoint.Reach("hook-ended")
	for _, o := range todo {
		if live[o.Key] != nil {
			if err := cluster.Discard(ctx, o, live[o.Key]); err != nil {
				return err
			}
		}
		noted(p.app.Status.Hooks, run, o.Key).Deleted = true
	}
	return nil
}

// dropHooks deletes the objects of hooks that the revision no longer has, and forgets all hooks of earlier syncs whose objects are gone. Of the others one note
// stays, by which they are found when Git drops them.
func (p *pass) dropHooks(ctx context.Context, next *revision) error {
	var kept []v1alpha1.HookStatus
	var gone []v1alpha1.ObjectRef
	seen := map[diff.Key]bool{}
	for _, h := range slices.Backward(p.app.Status.Hooks) { // the last note of an object says whether it is still there
		k := diff.KeyOf(h.ObjectRef)
		if seen[k] {
			continue
		}
		seen[k] = true
		switch {
		case h.Deleted || next.has(k):
		case slices.ContainsFunc(next.hooks, func(o *apply.Object) bool { return o.Key == k }):
			kept = append(kept, h)
		default:
			gone = append(gone, h.ObjectRef)
		}
	}
	if len(gone) > 0 && prunes(&p.app.Spec) {
		if _, err := p.removeAll(ctx, gone); err != nil {
			return err
		}
	}
	slices.Reverse(kept)
	p.app.Status.Hooks = kept
	return nil
}

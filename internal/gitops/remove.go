package gitops

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// remove does what deleting an Application asks for. Its objects go too, by the same rules as in any prune; with spec.onDeletion: keep, or while
// it is suspended, they stay and keep running. Needing neither Git nor a commit, it works when the repository is gone.
func (p *pass) remove(ctx context.Context) error {
	if !slices.Contains(p.app.Finalizers, v1alpha1.FinalizerPrune) {
		return nil
	}
	if !outlived(&p.app.Spec) && !p.app.Spec.Suspend {
		if err := p.removeObjects(ctx); err != nil {
			p.event(p.app, corev1.EventTypeWarning, "PruneFailed", err.Error())
			return fmt.Errorf("deleting Application %s: %w", p.key, err)
		}
	}
	app := p.app.DeepCopy()
	app.Finalizers = slices.DeleteFunc(app.Finalizers, func(f string) bool { return f == v1alpha1.FinalizerPrune })
	_, err := p.clients.In(app.Namespace).Update(ctx, app, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (p *pass) removeObjects(ctx context.Context) error {
	p.tracker.follow(p.key, nil) // what goes now is no drift
	refs := slices.Clone(p.app.Status.Inventory)
	for _, h := range p.app.Status.Hooks {
		if !h.Deleted && !slices.Contains(refs, h.ObjectRef) {
			refs = append(refs, h.ObjectRef)
		}
	}
	_, err := p.removeAll(ctx, refs)
	return err
}

// removeAll deletes or releases objects by the rules of any prune.
func (p *pass) removeAll(ctx context.Context, refs []v1alpha1.ObjectRef) ([]v1alpha1.ObjectRef, error) {
	cluster, err := p.as()
	if err != nil {
		return nil, err
	}
	live, err := cluster.Live(ctx, refs)
	if err != nil {
		return nil, err
	}
	plan := diff.Make(diff.Input{Application: mark(p.key), Live: live, Inventory: refs, Prune: true, Claimed: func(k diff.Key) string { return p.claimed(ctx, k) }})
	var removals []apply.Removal
	for _, s := range plan {
		if r, ok := removalOf(s, live[diff.KeyOf(s.Ref)]); ok {
			removals = append(removals, r)
		}
	}
	return p.prune(ctx, cluster, plan, removals)
}

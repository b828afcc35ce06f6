package apply

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Preflight asks the server to try every write of a set of changes without doing any. It returns an Errors with everything that would
// fail, or nil.
//
// An object in a namespace that the same commit creates cannot be tried in its place, because the server refuses it before looking at it. It
// is tried as a creation in the stand-in namespace instead, which runs the same decoding, defaulting, admission and validation.
func (c *Cluster) Preflight(ctx context.Context, changes []Change, standIn string) error {
	deferRedefined(changes)
	var mu sync.Mutex
	var errs Errors
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, ch := range changes {
		if ch.Object.Deferred {
			continue
		}
		g.Go(func() error {
			err := c.try(gctx, ch)
			if isMissingNamespace(err) && createsNamespace(changes, ch.Object.Ref.Namespace) {
				err = c.tryElsewhere(gctx, ch, standIn)
			}
			if err == nil || comesWithCommit(ch.Object, err, changes) {
				return nil
			}
			mu.Lock()
			errs = append(errs, explain(ch.Object.Source, err)...)
			mu.Unlock()
			return nil
		})
	}
	_ = g.Wait() // errors are collected, so that the author sees all of them at once
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// try has the server try one write where it is to be done. A hook, and an object that may be replaced and cannot be changed, is tried as the new object
// that it will be.
func (c *Cluster) try(ctx context.Context, ch Change) error {
	if len(ch.Object.Asks.Hooks) > 0 {
		return c.tryElsewhere(ctx, ch, ch.Object.Ref.Namespace)
	}
	_, err := c.patch(ctx, ch.Object, ch.trial(), true)
	if c.mayReplace(ch.Object) && apierrors.IsInvalid(err) && c.tryElsewhere(ctx, ch, ch.Object.Ref.Namespace) == nil {
		return nil
	}
	return err
}

// deferRedefined puts off the trial of objects whose kind's definition changes with the same commit: the server would judge them by the definition that it has.
func deferRedefined(changes []Change) {
	redefined := map[schema.GroupKind]bool{}
	for _, ch := range changes {
		if classOf(ch.Object.Ref.Group, ch.Object.Ref.Kind) == classDefinition {
			group, _, _ := unstructured.NestedString(ch.Object.Desired.Object, "spec", "group")
			kind, _, _ := unstructured.NestedString(ch.Object.Desired.Object, "spec", "names", "kind")
			redefined[schema.GroupKind{Group: group, Kind: kind}] = true
		}
	}
	for _, ch := range changes {
		if redefined[schema.GroupKind{Group: ch.Object.Ref.Group, Kind: ch.Object.Ref.Kind}] {
			ch.Object.Deferred = true
		}
	}
}

func createsNamespace(changes []Change, name string) bool {
	return slices.ContainsFunc(changes, func(c Change) bool {
		r := c.Object.Ref
		return r.Group == "" && r.Kind == "Namespace" && r.Name == name
	})
}

// comesWithCommit says that a Pod was refused only because its ServiceAccount is created by the same commit.
func comesWithCommit(o *Object, err error, changes []Change) bool {
	if o.Ref.Group != "" || o.Ref.Kind != "Pod" || !apierrors.IsForbidden(err) {
		return false
	}
	m := absentAccount.FindStringSubmatch(err.Error())
	return m != nil && slices.ContainsFunc(changes, func(c Change) bool {
		r := c.Object.Ref
		return r.Group == "" && r.Kind == "ServiceAccount" && r.Name == m[1] && r.Namespace == o.Ref.Namespace
	})
}

func (c *Cluster) tryElsewhere(ctx context.Context, ch Change, namespace string) error {
	u := ch.trial().DeepCopy()
	u.SetNamespace(namespace)
	_, err := c.of(ch.Object.Resource, namespace).Create(ctx, u, metav1.CreateOptions{
		DryRun: []string{metav1.DryRunAll}, FieldManager: v1alpha1.FieldManager, FieldValidation: metav1.FieldValidationStrict,
	})
	if apierrors.IsAlreadyExists(err) {
		return nil // the name is taken there, which is noticed last, after everything that was to be checked
	}
	return err
}

// Change is an object that is to be written.
type Change struct {
	Object *Object
	// Without is the desired object less the fields that the Application ignores and somebody else has set; nil when there are none.
	Without *unstructured.Unstructured
	// LiveVersion is the resourceVersion of the live object, empty when there is none.
	LiveVersion string

	// successorOf are the Services that have to go before this one can have what it asks for, and inherited is what that is; see HandOver.
	successorOf []Removal
	inherited   []claim
}

func (c Change) desired() *unstructured.Unstructured {
	if c.Without != nil {
		return c.Without
	}
	return c.Object.Desired
}

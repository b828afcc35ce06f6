package garbagecollector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// act carries out a. live is the object as the API server has just shown it; every write carries its resourceVersion, so that a decision which
// somebody's change has overtaken is refused and made again.
func (c *Controller) act(ctx context.Context, n *node, live *metav1.PartialObjectMetadata, deps []*node, a Actions) error {
	if a.Orphan {
		var errs []error
		for _, d := range deps {
			errs = append(errs, c.release(ctx, d, n.uid))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("%s: orphaning its dependents: %w", n, err)
		}
	}
	if a.RemoveFinalizer != "" {
		finalizers := slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == a.RemoveFinalizer })
		if _, err := c.patch(ctx, n, live, "finalizers", finalizers); err != nil {
			return fmt.Errorf("%s: removing the finalizer %s: %w", n, a.RemoveFinalizer, err)
		}
		return nil
	}
	if len(a.Drop) > 0 {
		refs := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(r metav1.OwnerReference) bool { return slices.Contains(a.Drop, r.UID) })
		if _, err := c.patch(ctx, n, live, "ownerReferences", refs); err != nil {
			return fmt.Errorf("%s: removing the references to owners that are gone: %w", n, err)
		}
		return nil
	}
	if a.Unblock {
		refs := slices.Clone(live.OwnerReferences)
		for i := range refs {
			refs[i].BlockOwnerDeletion = ptr.To(false)
		}
		next, err := c.patch(ctx, n, live, "ownerReferences", refs)
		if err != nil || next == nil {
			return err
		}
		live = next
	}
	if a.Delete != "" {
		err := c.client(n).Delete(ctx, n.name, metav1.DeleteOptions{
			Preconditions:     &metav1.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion},
			PropagationPolicy: &a.Delete,
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: deleting it, since its owners are gone: %w", n, err)
		}
	}
	return nil
}

// release removes one owner reference from a dependent.
func (c *Controller) release(ctx context.Context, d *node, owner types.UID) error {
	live, err := c.client(d).Get(ctx, d.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && live.UID != d.uid {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: reading it: %w", d, err)
	}
	refs := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(r metav1.OwnerReference) bool { return r.UID == owner })
	if len(refs) == len(live.OwnerReferences) {
		return nil
	}
	if _, err := c.patch(ctx, d, live, "ownerReferences", refs); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return nil
}

// patch replaces one list of an object's metadata; nil without an error means that the object is gone. A merge patch serves every kind, also those
// for which no merging of lists is defined.
func (c *Controller) patch(ctx context.Context, n *node, live *metav1.PartialObjectMetadata, field string, list any) (*metav1.PartialObjectMetadata, error) {
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": live.UID, "resourceVersion": live.ResourceVersion, field: list}})
	if err != nil {
		return nil, err
	}
	next, err := c.client(n).Patch(ctx, n.name, types.MergePatchType, b, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return next, err
}

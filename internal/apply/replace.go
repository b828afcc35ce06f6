package apply

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// precious are the kinds that take data, or objects of others, with them when they are deleted: only they themselves can ask to be replaced.
var precious = map[schema.GroupKind]bool{
	{Kind: "Namespace"}:             true,
	{Kind: "PersistentVolume"}:      true,
	{Kind: "PersistentVolumeClaim"}: true,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: true,
}

// mayReplace says whether an object may be deleted to be made anew.
func (c *Cluster) mayReplace(o *Object) bool {
	return o.Asks.Replace || c.replacing && !precious[schema.GroupKind{Group: o.Ref.Group, Kind: o.Ref.Kind}]
}

// replace deletes an object that the server refused to change and makes it anew, because its author asked for that. The new object is tried first:
// an object that could not be made again is not deleted. refusal is what the server said of the change.
func (c *Cluster) replace(ctx context.Context, ch Change, refusal error) (made *unstructured.Unstructured, removed bool, err error) {
	o := ch.Object
	if ch.LiveVersion == "" || c.tryElsewhere(ctx, ch, o.Ref.Namespace) != nil {
		return nil, false, refusal // it is the object itself that is wrong
	}
	live, err := c.of(o.Resource, o.Ref.Namespace).Get(ctx, o.Ref.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, false, err
	}
	if err == nil {
		how := metav1.DeletePropagationBackground
		if classOf(o.Ref.Group, o.Ref.Kind) == classWorkload {
			how = metav1.DeletePropagationForeground // the new Job's Pods would otherwise run beside the old one's
		}
		if err := c.delete(ctx, o, live, how); err != nil {
			return nil, false, err
		}
		if err := c.gone(ctx, o, live); err != nil {
			return nil, true, err
		}
	}
	made, err = c.patch(ctx, o, ch.desired(), false)
	return made, true, err
}

// delete deletes the very object that was seen, and takes one that is gone already for deleted.
func (c *Cluster) delete(ctx context.Context, o *Object, live *unstructured.Unstructured, how metav1.DeletionPropagation) error {
	uid := live.GetUID()
	err := c.of(o.Resource, o.Ref.Namespace).Delete(ctx, o.Ref.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &how})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// gone waits for the watch event that says that the object is gone.
func (c *Cluster) gone(ctx context.Context, o *Object, live *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w, err := c.of(o.Resource, o.Ref.Namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", o.Ref.Name).String(), ResourceVersion: live.GetResourceVersion(),
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			waits := "what it owns"
			if f := live.GetFinalizers(); len(f) > 0 {
				waits = "its finalizers " + strings.Join(f, ", ")
			}
			return fmt.Errorf("it was deleted to be replaced and is not gone yet; it waits for %s", waits)
		case e, open := <-w.ResultChan():
			if !open || e.Type == watch.Error {
				return fmt.Errorf("the API server ended the watch before %s, which is to be replaced, was gone", diff.KeyOf(o.Ref))
			}
			if e.Type == watch.Deleted {
				return nil
			}
		}
	}
}

// Run makes a hook's object, with the note of which sync it runs in.
func (c *Cluster) Run(ctx context.Context, o *Object, run string) (*unstructured.Unstructured, error) {
	u := o.Desired.DeepCopy()
	a := u.GetAnnotations()
	a[v1alpha1.AnnotationHookRun] = run // a hook has annotations: they are what makes it one
	u.SetAnnotations(a)
	live, err := c.patch(ctx, o, u, false)
	if err != nil {
		return nil, explain(o.Source, err)
	}
	return live, nil
}

// Discard deletes a hook's object with all that it owns.
func (c *Cluster) Discard(ctx context.Context, o *Object, live *unstructured.Unstructured) error {
	if err := c.delete(ctx, o, live, metav1.DeletePropagationBackground); err != nil {
		return fmt.Errorf("deleting hook %s: %w", diff.KeyOf(o.Ref), err)
	}
	return nil
}

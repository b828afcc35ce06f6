package namespace

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
)

// parallel bounds the requests that one pass has under way.
const parallel = 16

var pods = schema.GroupResource{Resource: "pods"}

// empty makes one pass: it deletes Pods, or, once there are none left, everything else, and says what is still there afterwards. Pods go first because
// they may need the rest (a ConfigMap, a NetworkPolicy, the ServiceAccount) until they have ended.
func (c *Controller) empty(ctx context.Context, namespace string) Found {
	known, unknown := c.inventory.Resources()
	f := Found{Remaining: map[schema.GroupResource]int{}, Held: map[string]int{}, Unknown: unknown}
	var first, rest []inventory.Resource
	for _, r := range known {
		switch {
		case !r.Namespaced || !r.Can("list", "delete"):
		case r.GroupResource() == pods:
			first = append(first, r)
		default:
			rest = append(rest, r)
		}
	}
	c.sweep(ctx, namespace, first, &f)
	if len(f.Remaining) > 0 || len(f.Failed) > 0 {
		f.PodsFirst = true
		return f
	}
	c.sweep(ctx, namespace, rest, &f)
	return f
}

// sweep deletes all objects of those resources and adds to f what is still there.
func (c *Controller) sweep(ctx context.Context, namespace string, resources []inventory.Resource, f *Found) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, r := range resources {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			left, err := c.clear(ctx, namespace, r)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.Failed = append(f.Failed, err)
			}
			if len(left) > 0 {
				f.Remaining[r.GroupResource()] = len(left)
			}
			for _, o := range left {
				for _, name := range o.Finalizers {
					f.Held[name]++
				}
			}
		})
	}
	wg.Wait()
}

// clear deletes all objects of one resource and returns those still there, if only until their grace period is over.
func (c *Controller) clear(ctx context.Context, namespace string, r inventory.Resource) ([]metav1.PartialObjectMetadata, error) {
	client := c.meta.Resource(r.GroupVersionResource).Namespace(namespace)
	left, err := client.List(ctx, metav1.ListOptions{})
	if gone(err) || err == nil && len(left.Items) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: listing: %w", r.GroupResource(), err)
	}
	background := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
	if err := c.delete(ctx, namespace, r, left.Items, background); err != nil {
		return left.Items, err
	}
	left, err = client.List(ctx, metav1.ListOptions{})
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: listing what is left: %w", r.GroupResource(), err)
	}
	return left.Items, nil
}

func (c *Controller) delete(ctx context.Context, namespace string, r inventory.Resource, items []metav1.PartialObjectMetadata, opts metav1.DeleteOptions) error {
	client := c.meta.Resource(r.GroupVersionResource).Namespace(namespace)
	if allDeleting(items) {
		return nil
	}
	if r.Can("deletecollection") {
		err := client.DeleteCollection(ctx, opts, metav1.ListOptions{})
		if err == nil || gone(err) {
			return nil
		}
		if !apierrors.IsMethodNotSupported(err) {
			return fmt.Errorf("%s: deleting: %w", r.GroupResource(), err)
		}
	}
	for _, o := range items {
		if err := client.Delete(ctx, o.Name, opts); err != nil && !gone(err) {
			return fmt.Errorf("%s %s: deleting: %w", r.GroupResource(), o.Name, err)
		}
	}
	return nil
}

func allDeleting(items []metav1.PartialObjectMetadata) bool {
	for _, o := range items {
		if o.DeletionTimestamp == nil {
			return false
		}
	}
	return true
}

// gone says that the object, or the whole resource, no longer exists.
func gone(err error) bool { return apierrors.IsNotFound(err) }

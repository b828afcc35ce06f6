package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// Removal is an object that Git no longer has, as it was seen when the plan was made.
type Removal struct {
	Ref  v1alpha1.ObjectRef
	Live *unstructured.Unstructured
	// Release keeps the object and takes only the Application's mark off.
	Release bool
	// Successor is the mark of the Application that a released object belongs to from then on; empty for none.
	Successor string
}

// Kept is an object that was to be deleted and was not, and why.
type Kept struct {
	Ref    v1alpha1.ObjectRef
	Reason string
}

// Prune deletes or releases objects, in the reverse of the order in which they are applied. A deletion is tied to the very object that the plan
// saw: one that was replaced in between is not touched. A namespace that holds something which did not come from Git is released instead.
// done are the objects that need no longer be in the inventory.
func (c *Cluster) Prune(ctx context.Context, removals []Removal) (done []v1alpha1.ObjectRef, kept []Kept, err error) {
	byClass := make([][]Removal, classes)
	for _, r := range removals {
		k := classOf(r.Ref.Group, r.Ref.Kind)
		byClass[k] = append(byClass[k], r)
	}
	var mu sync.Mutex
	var failed []string
	for k := classes - 1; k >= 0; k-- {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(parallel)
		for _, r := range byClass[k] {
			g.Go(func() error {
				reason, err := c.remove(gctx, r)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					failed = append(failed, fmt.Sprintf("%s cannot be pruned: %v", diff.KeyOf(r.Ref), err))
					return nil
				case reason != "":
					kept = append(kept, Kept{Ref: r.Ref, Reason: reason})
				}
				done = append(done, r.Ref)
				return nil
			})
		}
		_ = g.Wait() // errors are collected
		if err := ctx.Err(); err != nil {
			return done, kept, err
		}
		if len(failed) > 0 {
			return done, kept, fmt.Errorf("%s", strings.Join(failed, "\n"))
		}
	}
	return done, kept, nil
}

func (c *Cluster) remove(ctx context.Context, r Removal) (kept string, err error) {
	gvr, ok, err := c.Resource(ctx, r.Ref)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", nil
	}
	if !r.Release && r.Ref.Group == "" && r.Ref.Kind == "Namespace" {
		foreign, err := c.foreign(ctx, r.Ref.Name)
		if err != nil {
			return "", err
		}
		if foreign != "" {
			return fmt.Sprintf("it holds %s, which did not come from Git; delete the namespace by hand when nothing in it is needed", foreign), c.release(ctx, gvr, r)
		}
	}
	if r.Release {
		return "", c.release(ctx, gvr, r)
	}
	uid, background := r.Live.GetUID(), metav1.DeletePropagationBackground
	err = c.of(gvr, r.Ref.Namespace).Delete(ctx, r.Ref.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background,
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return "", nil // gone, or another object of that name, which is not ours to delete
	}
	return "", err
}

// release takes the mark of the Application, or gives its successor's, and takes the origin off an object, and leaves everything else.
func (c *Cluster) release(ctx context.Context, gvr schema.GroupVersionResource, r Removal) error {
	mark := any(nil)
	if r.Successor != "" {
		mark = r.Successor
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         r.Live.GetUID(),
		"labels":      map[string]any{v1alpha1.LabelApplication: mark},
		"annotations": map[string]any{v1alpha1.AnnotationOrigin: nil},
	}})
	if err != nil {
		return err
	}
	_, err = c.of(gvr, r.Ref.Namespace).Patch(ctx, r.Ref.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: v1alpha1.FieldManager})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// automatic are objects that every namespace has without anybody's doing.
func automatic(kind, name string) bool {
	switch kind {
	case "Event", "Lease", "Endpoints", "EndpointSlice", "PodMetrics":
		return true
	case "ConfigMap":
		return name == "kube-root-ca.crt"
	case "ServiceAccount":
		return name == "default"
	}
	return false
}

// foreign names an object of the namespace that neither came from Git nor was made by a controller for another object; empty when there is none.
func (c *Cluster) foreign(ctx context.Context, namespace string) (string, error) {
	d, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return "", err
	}
	m, err := metadata.NewForConfig(c.config)
	if err != nil {
		return "", err
	}
	lists, err := d.ServerPreferredNamespacedResources()
	if err != nil && len(lists) == 0 {
		return "", err
	}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return "", err
		}
		for _, r := range list.APIResources {
			if !contains(r.Verbs, "list") || !contains(r.Verbs, "delete") || automatic(r.Kind, "") {
				continue
			}
			objects, err := m.Resource(gv.WithResource(r.Name)).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: "!" + v1alpha1.LabelApplication})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil {
				return "", fmt.Errorf("looking for %s in namespace %s: %w", r.Name, namespace, err)
			}
			for _, o := range objects.Items {
				if metav1.GetControllerOf(&o) == nil && len(o.OwnerReferences) == 0 && o.DeletionTimestamp == nil && !automatic(r.Kind, o.Name) {
					return r.Kind + " " + o.Name, nil
				}
			}
		}
	}
	return "", nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

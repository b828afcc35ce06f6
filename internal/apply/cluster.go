package apply

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// parallel is how many requests of one step are under way at once. The server is in the same process as a rule, so more would only make them
// wait for each other.
const parallel = 8

// Cluster is a Kubernetes API as one user may use it.
type Cluster struct {
	config *rest.Config
	client dynamic.Interface
	mapper *Mapper
	// replacing lets objects be replaced that do not ask for it themselves.
	replacing bool
}

// NewCluster makes a Cluster. The mapper may be shared between Clusters of one server.
func NewCluster(config *rest.Config, m *Mapper) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{config: config, client: client, mapper: m}, nil
}

// As returns the Cluster as another user may use it.
func (c *Cluster) As(user string) (*Cluster, error) {
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	return NewCluster(config, c.mapper)
}

// Replacing returns the Cluster for an Application that says of all its objects that they may be replaced.
func (c *Cluster) Replacing() *Cluster {
	out := *c
	out.replacing = true
	return &out
}

// Resource finds the resource that serves an object of the inventory; ok is false when the server knows none any more.
func (c *Cluster) Resource(ctx context.Context, r v1alpha1.ObjectRef) (gvr schema.GroupVersionResource, ok bool, err error) {
	m, err := c.mapper.Mapping(ctx, schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}, true)
	switch {
	case err == nil:
		return m.Resource, true, nil
	case meta.IsNoMatchError(err):
		return schema.GroupVersionResource{}, false, nil
	}
	return schema.GroupVersionResource{}, false, fmt.Errorf("asking the API server for its kinds: %w", err)
}

func (c *Cluster) of(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return c.client.Resource(resource)
	}
	return c.client.Resource(resource).Namespace(namespace)
}

// Live reads objects. Those that are not in the cluster, or whose kind it no longer serves, are missing from the result.
func (c *Cluster) Live(ctx context.Context, refs []v1alpha1.ObjectRef) (map[diff.Key]*unstructured.Unstructured, error) {
	var mu sync.Mutex
	out := make(map[diff.Key]*unstructured.Unstructured, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, r := range refs {
		gvr, ok, err := c.Resource(ctx, r)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		g.Go(func() error {
			u, err := c.of(gvr, r.Namespace).Get(ctx, r.Name, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case err != nil:
				return &Unread{Ref: r, Err: err}
			}
			mu.Lock()
			out[diff.KeyOf(r)] = u
			mu.Unlock()
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// Unread is an object that could not be read.
type Unread struct {
	Ref v1alpha1.ObjectRef
	Err error
}

func (e *Unread) Error() string { return fmt.Sprintf("reading %s: %v", diff.KeyOf(e.Ref), e.Err) }
func (e *Unread) Unwrap() error { return e.Err }

// In puts the error as one of the object among others that it is about, if it is one of them and the server's answer is what this user may not do.
func (e *Unread) In(objects map[diff.Key]*Object) error {
	if o := objects[diff.KeyOf(e.Ref)]; o != nil && apierrors.IsForbidden(e.Err) {
		return explain(o.Source, e.Err)
	}
	return e
}

// patch applies an object, for real or as a dry run.
func (c *Cluster) patch(ctx context.Context, o *Object, desired *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	body, err := withOrigin(desired, o.Source.Origin)
	if err != nil {
		return nil, err
	}
	force := true
	opts := metav1.PatchOptions{FieldManager: v1alpha1.FieldManager, Force: &force, FieldValidation: metav1.FieldValidationStrict}
	if dryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	return c.of(o.Resource, o.Ref.Namespace).Patch(ctx, o.Ref.Name, types.ApplyPatchType, body, opts)
}

package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"

	"github.com/gitopsd/gitopsd/internal/network"
)

// nodesREST shows nodes what they need of all Nodes, and everybody else, and nodes that select, the Nodes as they are.
//
// Every node follows all others, to have a route to their Pods. Were each told all that the others report, what a write costs would grow with the number of nodes, and
// what all writes cost with its square. So there is a second watch cache for them, of which each object holds only what routes are made from, and which has an event only
// when that has changed: a few in a node's life. A node's own Node it follows by name.
type nodesREST struct {
	*resource
	routes *genericregistry.Store
}

func newNodesREST(main *resource, s *Storage) (rest.Storage, error) {
	cached, destroy, err := s.openRoutes(main.Store)
	if err != nil {
		return nil, fmt.Errorf("routes of Nodes: %w", err)
	}
	routes := *main.Store
	routes.Storage.Storage = cached
	whole := main.DestroyFunc
	main.DestroyFunc = func() { destroy(); whole() }
	return &nodesREST{main, &routes}, nil
}

// openRoutes makes the watch cache of what routes are made from.
func (s *Storage) openRoutes(nodes *genericregistry.Store) (storage.Interface, factory.DestroyFunc, error) {
	options, err := s.GetRESTOptions(nodes.DefaultQualifiedResource, nodes.NewFunc())
	if err != nil {
		return nil, nil, err
	}
	c, prefix := options.StorageConfig, "/"+options.ResourcePrefix
	whole, err := s.etcd(c, prefix, c.Codec, nodes.NewFunc, nodes.NewListFunc)
	if err != nil {
		return nil, nil, err
	}
	routes := routeStorage{whole}
	cached, err := s.cacheOf(routes, c, prefix, cacher.Config{
		NewFunc: nodes.NewFunc, NewListFunc: nodes.NewListFunc, GetAttrsFunc: nodes.PredicateFunc(labels.Everything(), fields.Everything()).GetAttrs,
		KeyFunc: func(obj runtime.Object) (string, error) {
			return nodes.KeyFunc(context.Background(), objectMeta(obj).GetName())
		},
	})
	if err != nil {
		whole.Close()
		return nil, nil, err
	}
	return cachedRoutes{routes, cached}, func() {
		cached.Stop()
		whole.Close()
	}, nil
}

// List implements rest.Lister.
func (r *nodesREST) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	if forRoutes(ctx, options) {
		return r.routes.List(ctx, options)
	}
	return r.resource.List(ctx, options)
}

// Watch implements rest.Watcher.
func (r *nodesREST) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	if forRoutes(ctx, options) {
		return r.routes.Watch(ctx, options)
	}
	return r.resource.Watch(ctx, options)
}

// forRoutes tells whether a node asks for all Nodes.
func forRoutes(ctx context.Context, o *metainternalversion.ListOptions) bool {
	u, ok := genericapirequest.UserFrom(ctx)
	return ok && slices.Contains(u.GetGroups(), user.NodesGroup) &&
		(o == nil || (o.FieldSelector == nil || o.FieldSelector.Empty()) && (o.LabelSelector == nil || o.LabelSelector.Empty()))
}

// keepRoutes leaves of a Node what the routes to its Pods are made from.
func keepRoutes(n *corev1.Node) {
	var annotations map[string]string
	if key, ok := n.Annotations[network.AnnWireGuardKey]; ok {
		annotations = map[string]string{network.AnnWireGuardKey: key}
	}
	*n = corev1.Node{
		TypeMeta: n.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, CreationTimestamp: n.CreationTimestamp, DeletionTimestamp: n.DeletionTimestamp,
			Annotations: annotations,
		},
		Spec:   corev1.NodeSpec{PodCIDR: n.Spec.PodCIDR, PodCIDRs: n.Spec.PodCIDRs},
		Status: corev1.NodeStatus{Addresses: n.Status.Addresses},
	}
}

// sameRoutes tells of two versions of a Node, as keepRoutes leaves them, that they differ in nothing.
func sameRoutes(a, b *corev1.Node) bool {
	return maps.Equal(a.Annotations, b.Annotations) && apiequality.Semantic.DeepEqual(a.Spec, b.Spec) && apiequality.Semantic.DeepEqual(a.Status, b.Status) && a.DeletionTimestamp.Equal(b.DeletionTimestamp)
}

// cachedRoutes answers from the cache what nodes ask for, and the rest from etcd. The library's own way to join the two compares every few minutes whether each object
// has the same version in both, which is just what is not so here.
type cachedRoutes struct {
	routeStorage
	cache *filling
}

// GetList implements storage.Interface.
func (s cachedRoutes) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if opts.ResourceVersion == "0" && opts.Predicate.Continue == "" && s.cache.readiness() == nil {
		return s.cache.GetList(ctx, key, opts, list)
	}
	return s.routeStorage.GetList(ctx, key, opts, list)
}

// Watch implements storage.Interface.
func (s cachedRoutes) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	return s.cache.Watch(ctx, key, opts)
}

// ReadinessCheck implements storage.Interface.
func (s cachedRoutes) ReadinessCheck() error { return s.cache.readiness() }

// routeStorage is the storage of Nodes of which only the routes are seen, and only their changes.
type routeStorage struct{ storage.Interface }

// Get implements storage.Interface.
func (s routeStorage) Get(ctx context.Context, key string, opts storage.GetOptions, obj runtime.Object) error {
	if err := s.Interface.Get(ctx, key, opts, obj); err != nil {
		return err
	}
	keepRoutes(obj.(*corev1.Node))
	return nil
}

// GetList implements storage.Interface.
func (s routeStorage) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if err := s.Interface.GetList(ctx, key, opts, list); err != nil {
		return err
	}
	items := list.(*corev1.NodeList).Items
	for i := range items {
		keepRoutes(&items[i])
	}
	return nil
}

// Watch implements storage.Interface. The first change of each Node that a watch shows is passed on in any case, since what was before it is not known.
func (s routeStorage) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	opts.RecordTimestamps = false // would put the Nodes into a wrapping that nobody but the library's cache can open
	w, err := s.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	last := map[types.UID]*corev1.Node{}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		n, ok := e.Object.(*corev1.Node)
		if !ok || e.Type == watch.Bookmark {
			return e, true
		}
		keepRoutes(n)
		was := last[n.UID]
		if last[n.UID] = n; e.Type == watch.Deleted {
			delete(last, n.UID)
		}
		return e, e.Type != watch.Modified || was == nil || !sameRoutes(was, n)
	}), nil
}

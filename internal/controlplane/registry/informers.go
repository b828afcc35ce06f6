package registry

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/autoscaling"
	"k8s.io/client-go/informers/batch"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/coordination"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/discovery"
	"k8s.io/client-go/informers/flowcontrol"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/networking"
	"k8s.io/client-go/informers/node"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/rbac"
	informersresource "k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/scheduling"
	informersstorage "k8s.io/client-go/informers/storage"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Informers is the factory of the informers of this process. Those of the kinds in the table list and watch the storage itself: nothing is encoded, sent and decoded
// again, and what an informer holds shares everything but the topmost struct with the watch cache. Managed fields are left out, which no controller looks at.
//
// Informers' objects must not be written to, as ever; here that would change what the API server serves.
type Informers struct {
	informers.SharedInformerFactory
	registry func() *Registry
}

// NewInformers makes the factory. The registry is asked for when an informer runs; the client serves the kinds that are not in its table, such as views.
func NewInformers(client kubernetes.Interface, registry func() *Registry) *Informers {
	return &Informers{informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(withoutManagedFields)), registry}
}

// InformerFor implements informers.SharedInformerFactory.
func (f *Informers) InformerFor(obj runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	if isView(obj) {
		return f.SharedInformerFactory.InformerFor(obj, newFunc)
	}
	return f.SharedInformerFactory.InformerFor(obj, func(_ kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformerWithOptions(stored{f.registry, reflect.TypeOf(obj)}, obj, cache.SharedIndexInformerOptions{
			ResyncPeriod: resync, Indexers: cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		})
	})
}

// isView tells whether the objects are another kind where they are stored.
func isView(obj runtime.Object) bool {
	gvks, _, err := Scheme.ObjectKinds(obj)
	return err != nil || slices.ContainsFunc(views, func(v view) bool { return slices.Contains(gvks, v.gv.WithKind(v.kind)) })
}

// The factory's own methods would ask the embedded factory for informers.
func (f *Informers) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Apps() apps.Interface { return apps.New(f, metav1.NamespaceAll, nil) }
func (f *Informers) Autoscaling() autoscaling.Interface {
	return autoscaling.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Batch() batch.Interface { return batch.New(f, metav1.NamespaceAll, nil) }
func (f *Informers) Certificates() certificates.Interface {
	return certificates.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Coordination() coordination.Interface {
	return coordination.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Core() core.Interface { return core.New(f, metav1.NamespaceAll, nil) }
func (f *Informers) Discovery() discovery.Interface {
	return discovery.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Flowcontrol() flowcontrol.Interface {
	return flowcontrol.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Networking() networking.Interface {
	return networking.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Node() node.Interface     { return node.New(f, metav1.NamespaceAll, nil) }
func (f *Informers) Policy() policy.Interface { return policy.New(f, metav1.NamespaceAll, nil) }
func (f *Informers) Rbac() rbac.Interface     { return rbac.New(f, metav1.NamespaceAll, nil) }
func (f *Informers) Resource() informersresource.Interface {
	return informersresource.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Scheduling() scheduling.Interface {
	return scheduling.New(f, metav1.NamespaceAll, nil)
}
func (f *Informers) Storage() informersstorage.Interface {
	return informersstorage.New(f, metav1.NamespaceAll, nil)
}

// stored lists and watches the objects of one Go type in their storage.
type stored struct {
	registry func() *Registry
	of       reflect.Type
}

var _ cache.ListerWatcherWithContext = stored{}

func (s stored) store() (*genericregistry.Store, error) {
	store, ok := s.registry().byType[s.of]
	if !ok {
		return nil, fmt.Errorf("no resource of type %s is stored", s.of)
	}
	return store, nil
}

func (s stored) List(o metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), o)
}

func (s stored) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), o)
}

func (s stored) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	store, err := s.store()
	if err != nil {
		return nil, err
	}
	options, err := listOptions(o)
	if err != nil {
		return nil, err
	}
	return store.List(genericapirequest.WithNamespace(ctx, metav1.NamespaceAll), options)
}

func (s stored) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	store, err := s.store()
	if err != nil {
		return nil, err
	}
	options, err := listOptions(o)
	if err != nil {
		return nil, err
	}
	w, err := store.Watch(genericapirequest.WithNamespace(ctx, metav1.NamespaceAll), options)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		e.Object = cached(store, e.Object)
		return e, true
	}), nil
}

func listOptions(o metav1.ListOptions) (*metainternalversion.ListOptions, error) {
	out := &metainternalversion.ListOptions{}
	return out, metainternalversion.Convert_v1_ListOptions_To_internalversion_ListOptions(&o, out, nil)
}

// cached is an object of a watch as the watch cache holds it, but for the topmost struct.
func cached(store *genericregistry.Store, obj runtime.Object) runtime.Object {
	o, ok := obj.(metav1.Object)
	if !ok {
		return obj // the status of an error
	}
	if key, err := store.KeyFunc(genericapirequest.WithNamespace(context.Background(), o.GetNamespace()), o.GetName()); err == nil {
		current := store.NewFunc()
		if store.Storage.Storage.Get(context.Background(), key, storage.GetOptions{ResourceVersion: "0"}, current) == nil &&
			current.(metav1.Object).GetResourceVersion() == o.GetResourceVersion() {
			return current
		}
	}
	// Many watchers are given one object, which is encoded once for all of them; only its copy has the type of the kind.
	if c, ok := obj.(runtime.CacheableObject); ok {
		return c.GetObject()
	}
	return obj
}

// withoutManagedFields is what an informer keeps of an object.
func withoutManagedFields(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return obj, nil
}

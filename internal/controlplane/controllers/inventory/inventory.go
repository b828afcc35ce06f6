package inventory

import (
	"context"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

const (
	// look is how often discovery is asked although nothing announced a new kind: aggregated servers change theirs without a word.
	look = 30 * time.Second
	// soon is after how long it is asked again when a CustomResourceDefinition is there and its kind not yet.
	soon = 100 * time.Millisecond
	// patience bounds how long Run's caller waits for a resource that cannot be listed, such as one whose conversion webhook is down.
	patience = 30 * time.Second
)

// crds are the objects that announce new kinds.
var crds = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}

// Event is a change of one object. Old is nil for a new object, New for a deleted one.
type Event struct {
	Resource *Resource
	Old, New metav1.Object
}

// Inventory is what there is in the cluster.
type Inventory struct {
	meta      metadata.Interface
	discovery discovery.DiscoveryInterface
	shared    map[schema.GroupResource]cache.SharedIndexInformer
	listeners []func(Event)
	loop      *reconcile.Loop
	ready     chan struct{}
	readyOnce sync.Once

	mu       sync.RWMutex
	known    []Resource
	failed   map[string]error
	monitors map[schema.GroupResource]*monitor
}

// monitor is the watch of one resource.
type monitor struct {
	Resource
	informer cache.SharedIndexInformer
	synced   cache.InformerSynced
	stop     func()
}

// New makes an Inventory. shared are resources whose informers f runs anyway.
func New(m metadata.Interface, d discovery.DiscoveryInterface, f informers.SharedInformerFactory, shared ...schema.GroupVersionResource) *Inventory {
	i := &Inventory{
		meta: m, discovery: d,
		shared:   map[schema.GroupResource]cache.SharedIndexInformer{},
		ready:    make(chan struct{}),
		monitors: map[schema.GroupResource]*monitor{},
	}
	for _, gvr := range shared {
		inf, err := f.ForResource(gvr)
		if err != nil {
			panic("inventory: a resource named in the program is not one of client-go's: " + err.Error())
		}
		i.shared[gvr.GroupResource()] = inf.Informer()
	}
	i.loop = reconcile.New("inventory", i.refresh)
	return i
}

// Listen has f called for every change, also for every object that is there at first. It must be called before Run, and f must not block.
func (i *Inventory) Listen(f func(Event)) { i.listeners = append(i.listeners, f) }

// Run keeps the inventory until ctx ends.
func (i *Inventory) Run(ctx context.Context) {
	i.loop.Enqueue(reconcile.Key{Name: "discovery"})
	i.loop.Run(ctx, 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range i.monitors {
		m.stop()
	}
}

// Wait returns true once every object that existed at the start has been announced, or false if ctx ends before. A resource that cannot be listed
// is waited for only so long: the others' objects must not stay for ever because of it.
func (i *Inventory) Wait(ctx context.Context) bool {
	select {
	case <-i.ready:
	case <-ctx.Done():
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	i.mu.RLock()
	var synced []cache.InformerSynced
	for _, m := range i.monitors {
		synced = append(synced, m.synced)
	}
	i.mu.RUnlock()
	if !cache.WaitForCacheSync(bounded.Done(), synced...) && ctx.Err() == nil {
		i.mu.RLock()
		defer i.mu.RUnlock()
		for _, m := range i.monitors {
			if !m.synced() {
				slog.Warn("inventory: going on without a resource that could not be listed", "resource", m.GroupVersionResource.String())
			}
		}
	}
	return ctx.Err() == nil
}

// Resources are all resources known now, and the groups about which nothing is known because their server does not answer.
func (i *Inventory) Resources() (known []Resource, failed map[string]error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.known, i.failed
}

// ByKind finds the resource of a kind, whatever the version.
func (i *Inventory) ByKind(gk schema.GroupKind) (Resource, bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, r := range i.known {
		if r.Group == gk.Group && r.Kind == gk.Kind {
			return r, true
		}
	}
	return Resource{}, false
}

// Has says whether a namespace has objects of a resource, as far as the cache shows.
func (i *Inventory) Has(r *Resource, namespace string) bool {
	i.mu.RLock()
	m := i.monitors[r.key()]
	i.mu.RUnlock()
	if m == nil {
		return false
	}
	names, err := m.informer.GetIndexer().IndexKeys(cache.NamespaceIndex, namespace)
	return err == nil && len(names) > 0
}

// refresh asks discovery and starts and stops watches accordingly.
func (i *Inventory) refresh(ctx context.Context, _ reconcile.Key) (reconcile.Result, error) {
	found, failed, err := discover(i.discovery)
	if err != nil {
		return reconcile.Result{}, err
	}
	i.mu.Lock()
	i.apply(ctx, found, failed)
	again := look
	if i.announced() {
		again = soon
	}
	i.mu.Unlock()
	i.readyOnce.Do(func() { close(i.ready) })
	return reconcile.Result{After: again}, nil
}

// apply makes the watches fit what was found. i.mu is held.
func (i *Inventory) apply(ctx context.Context, found []Resource, failed map[string]error) {
	served := map[schema.GroupResource]bool{}
	known := found
	for _, r := range found {
		served[r.key()] = true
		if ignored[r.key()] || !r.Can("list", "watch", "delete") {
			continue
		}
		if m := i.monitors[r.key()]; m != nil {
			if m.GroupVersionResource == r.GroupVersionResource {
				continue
			}
			m.stop()
		}
		i.monitors[r.key()] = i.watch(ctx, r)
	}
	for key, m := range i.monitors {
		switch {
		case served[key]:
		case failed[key.Group] != nil:
			known = append(known, m.Resource) // not heard of for now
		default:
			m.stop()
			delete(i.monitors, key)
		}
	}
	i.known, i.failed = known, failed
}

// announced says whether a CustomResourceDefinition names a resource that discovery does not show yet.
func (i *Inventory) announced() bool {
	m := i.monitors[crds]
	if m == nil {
		return false
	}
	for _, obj := range m.informer.GetStore().List() {
		crd := obj.(metav1.Object)
		// Its name is <plural>.<group>. One that has been there for long and is not served will not be, until it changes.
		if _, ok := i.monitors[schema.ParseGroupResource(crd.GetName())]; !ok && crd.GetDeletionTimestamp() == nil && time.Since(crd.GetCreationTimestamp().Time) < look {
			return true
		}
	}
	return false
}

// watch begins to watch one resource.
func (i *Inventory) watch(ctx context.Context, r Resource) *monitor {
	m := &monitor{Resource: r}
	handler := i.handler(&m.Resource)
	if inf := i.shared[r.key()]; inf != nil {
		m.informer = inf
		reg, err := inf.AddEventHandler(handler)
		if err != nil {
			slog.Error("inventory: adding an event handler failed", "resource", r.GroupVersionResource.String(), "err", err)
			m.synced, m.stop = func() bool { return true }, func() {}
			return m
		}
		m.synced = reg.HasSynced
		m.stop = func() {
			if err := inf.RemoveEventHandler(reg); err != nil {
				slog.Error("inventory: removing an event handler failed", "resource", r.GroupVersionResource.String(), "err", err)
			}
		}
		return m
	}
	m.informer = metadatainformer.NewFilteredMetadataInformer(i.meta, r.GroupVersionResource, metav1.NamespaceAll, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, nil).Informer()
	if err := m.informer.SetTransform(lean); err != nil {
		slog.Error("inventory: setting a transform failed", "resource", r.GroupVersionResource.String(), "err", err)
	}
	m.synced = reconcile.Listen(m.informer, handler)
	ctx, m.stop = context.WithCancel(ctx)
	go m.informer.RunWithContext(ctx)
	return m
}

// lean drops what nobody here reads.
func lean(obj any) (any, error) {
	if p, ok := obj.(*metav1.PartialObjectMetadata); ok {
		p.ManagedFields, p.Annotations, p.Labels = nil, nil, nil
	}
	return obj, nil
}

func (i *Inventory) handler(r *Resource) cache.ResourceEventHandler {
	tell := func(old, obj any) {
		e := Event{Resource: r}
		e.Old, _ = old.(metav1.Object)
		e.New, _ = obj.(metav1.Object)
		for _, f := range i.listeners {
			f(e)
		}
		if r.key() == crds {
			i.loop.Enqueue(reconcile.Key{Name: "discovery"})
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { tell(nil, obj) },
		UpdateFunc: tell,
		DeleteFunc: func(obj any) {
			if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = t.Obj
			}
			tell(obj, nil)
		},
	}
}

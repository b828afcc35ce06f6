package gitops

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// tracker watches the objects that came from Git: one watch for each kind that some Application uses, over all namespaces, of the objects with the
// Applications' label only. It keeps no object. Each is looked at once as it comes by and dropped, so its memory is a name and a label.
type tracker struct {
	client dynamic.Interface
	// seen is told of each object, with the value of its label; live is nil when the object went away or lost the label.
	seen func(application string, object objectName, live *unstructured.Unstructured)

	ctx   context.Context
	mu    sync.Mutex
	wg    sync.WaitGroup
	kinds map[schema.GroupVersionResource]*watched
}

func newTracker(c dynamic.Interface, seen func(string, objectName, *unstructured.Unstructured)) *tracker {
	return &tracker{client: c, seen: seen, kinds: map[schema.GroupVersionResource]*watched{}}
}

// begin lets watches run until ctx ends.
func (t *tracker) begin(ctx context.Context) { t.ctx = ctx }

// objectName names an object whose content is not at hand.
type objectName struct {
	schema.GroupKind
	namespace, name string
}

// watched is the watch of one kind.
type watched struct {
	stop   context.CancelFunc
	users  map[reconcile.Key]bool
	synced chan struct{}
}

// follow makes the given kinds the ones that an Application needs watched. Watches that nobody needs any more end. It returns channels that are
// closed when the kinds' objects have been seen once.
func (t *tracker) follow(user reconcile.Key, kinds map[schema.GroupVersionResource]schema.GroupKind) []<-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	for gvr, w := range t.kinds {
		if _, wanted := kinds[gvr]; !wanted && w.users[user] {
			delete(w.users, user)
			if len(w.users) == 0 {
				w.stop()
				delete(t.kinds, gvr)
			}
		}
	}
	var synced []<-chan struct{}
	for gvr, gk := range kinds {
		w, ok := t.kinds[gvr]
		if !ok {
			w = t.start(gvr, gk)
			t.kinds[gvr] = w
		}
		w.users[user] = true
		synced = append(synced, w.synced)
	}
	return synced
}

func (t *tracker) start(gvr schema.GroupVersionResource, gk schema.GroupKind) *watched {
	ctx, stop := context.WithCancel(t.ctx)
	w := &watched{stop: stop, users: map[reconcile.Key]bool{}, synced: make(chan struct{})}
	resource := t.client.Resource(gvr)
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = v1alpha1.LabelApplication
			return resource.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = v1alpha1.LabelApplication
			return resource.Watch(ctx, o)
		},
	}, t.client)
	r := cache.NewReflectorWithOptions(lw, &unstructured.Unstructured{}, &passingStore{
		seen: t.seen, kind: gk, labels: map[objectName]string{}, synced: w.synced,
	}, cache.ReflectorOptions{Name: "gitops/" + gvr.Resource, TypeDescription: gvr.String()})
	t.wg.Go(func() { r.RunWithContext(ctx) })
	return w
}

// wait returns when all watches have ended; the context they were started under must have.
func (t *tracker) wait() { t.wg.Wait() }

// passingStore is the store of a reflector that stores nothing but the label of each object.
type passingStore struct {
	seen func(string, objectName, *unstructured.Unstructured)
	kind schema.GroupKind

	mu     sync.Mutex
	labels map[objectName]string
	once   sync.Once
	synced chan struct{}
}

func (s *passingStore) Add(obj any) error    { return s.pass(obj) }
func (s *passingStore) Update(obj any) error { return s.pass(obj) }
func (s *passingStore) Resync() error        { return nil }

func (s *passingStore) Delete(obj any) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("a watch delivered %T: %w", obj, err)
	}
	s.gone(s.nameOf(m))
	return nil
}

// Replace is what a list, or a new list after a broken watch, brings.
func (s *passingStore) Replace(objects []any, _ string) error {
	present := make(map[objectName]bool, len(objects))
	for _, obj := range objects {
		m, err := meta.Accessor(obj)
		if err != nil {
			return fmt.Errorf("a list delivered %T: %w", obj, err)
		}
		present[s.nameOf(m)] = true
		if err := s.pass(obj); err != nil {
			return err
		}
	}
	s.mu.Lock()
	var absent []objectName
	for n := range s.labels {
		if !present[n] {
			absent = append(absent, n)
		}
	}
	s.mu.Unlock()
	for _, n := range absent {
		s.gone(n)
	}
	s.once.Do(func() { close(s.synced) })
	return nil
}

func (s *passingStore) pass(obj any) error {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("a watch delivered %T", obj)
	}
	n, application := s.nameOf(u), u.GetLabels()[v1alpha1.LabelApplication]
	s.mu.Lock()
	before, had := s.labels[n]
	s.labels[n] = application
	s.mu.Unlock()
	if had && before != application {
		s.seen(before, n, nil)
	}
	s.seen(application, n, u)
	return nil
}

func (s *passingStore) gone(n objectName) {
	s.mu.Lock()
	application, had := s.labels[n]
	delete(s.labels, n)
	s.mu.Unlock()
	if had {
		s.seen(application, n, nil)
	}
}

func (s *passingStore) nameOf(m metav1.Object) objectName {
	return objectName{GroupKind: s.kind, namespace: m.GetNamespace(), name: m.GetName()}
}

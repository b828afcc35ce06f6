package latetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
)

// Object is what an API server keeps.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is what is true of one kind of objects, and a cache that comes to know of it in order, but late.
type Kind[T Object] struct {
	Real  map[string]T // by name
	Cache *Indexer
	// Handler hears, if it is set, of what the cache comes to know, as from an informer.
	Handler cache.ResourceEventHandler

	t     *testing.T
	queue []change[T]
}

type change[T Object] struct {
	version int
	obj     T
	gone    bool
}

// indexers are those by controller and by namespace, as the informers have them.
func indexers() cache.Indexers {
	inf := cache.NewSharedIndexInformer(&cache.ListWatch{}, nil, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	index.AddController(inf)
	return inf.GetIndexer().GetIndexers()
}

// NewKind makes one without objects.
func NewKind[T Object](t *testing.T) *Kind[T] {
	return &Kind[T]{t: t, Real: map[string]T{}, Cache: &Indexer{Indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers())}}
}

// Put makes a change true.
func (k *Kind[T]) Put(version int, o T) {
	o.SetResourceVersion(strconv.Itoa(version))
	k.Real[o.GetName()] = o
	k.queue = append(k.queue, change[T]{version: version, obj: o})
}

// Remove makes it true that an object is gone.
func (k *Kind[T]) Remove(version int, name string) {
	k.queue = append(k.queue, change[T]{version: version, obj: k.Real[name], gone: true})
	delete(k.Real, name)
}

// Deliver shows the cache one change more.
func (k *Kind[T]) Deliver() {
	if len(k.queue) == 0 {
		return
	}
	e := k.queue[0]
	k.queue = k.queue[1:]
	k.Cache.Version = strconv.Itoa(e.version)
	old, known, err := k.Cache.Get(e.obj)
	if err != nil {
		k.t.Fatal(err)
	}
	write := k.Cache.Update
	if e.gone {
		write = k.Cache.Delete
	}
	if err := write(e.obj); err != nil {
		k.t.Fatal(err)
	}
	switch {
	case k.Handler == nil:
	case e.gone && known:
		k.Handler.OnDelete(e.obj)
	case !e.gone && known:
		k.Handler.OnUpdate(old, e.obj)
	case !e.gone:
		k.Handler.OnAdd(e.obj, false)
	}
}

// Empty makes the cache one that has been told nothing yet, as that of a process that starts.
func (k *Kind[T]) Empty() {
	k.Cache.Indexer = cache.NewIndexer(cache.MetaNamespaceKeyFunc, k.Cache.GetIndexers())
}

// Relist shows the cache what is true now: what came and went since is never seen.
func (k *Kind[T]) Relist(version int) {
	known := map[string]any{}
	for _, o := range k.Cache.List() {
		known[o.(T).GetName()] = o
	}
	var list []any
	for _, o := range k.Real {
		list = append(list, o)
	}
	if err := k.Cache.Replace(list, ""); err != nil {
		k.t.Fatal(err)
	}
	k.queue, k.Cache.Version = nil, strconv.Itoa(version)
	if k.Handler == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(k.Real)) {
		if old, ok := known[name]; ok {
			k.Handler.OnUpdate(old, k.Real[name])
		} else {
			k.Handler.OnAdd(k.Real[name], false)
		}
		delete(known, name)
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		k.Handler.OnDelete(cache.DeletedFinalStateUnknown{Key: name, Obj: known[name]})
	}
}

// Serve reads, creates and updates as the API server does; next counts its versions. An update that names no version is carried out whatever there is. All else
// is the caller's.
func (k *Kind[T]) Serve(a clienttesting.Action, next func() int) (runtime.Object, error) {
	gr := a.GetResource().GroupResource()
	switch a := a.(type) {
	case clienttesting.GetActionImpl:
		if o, ok := k.Real[a.Name]; ok {
			return o.DeepCopyObject(), nil
		}
		return nil, apierrors.NewNotFound(gr, a.Name)
	case clienttesting.CreateActionImpl:
		o := a.Object.DeepCopyObject().(T)
		if _, ok := k.Real[o.GetName()]; ok {
			return nil, apierrors.NewAlreadyExists(gr, o.GetName())
		}
		version := next()
		if o.GetName() == "" {
			o.SetName(fmt.Sprint(o.GetGenerateName(), version))
		}
		o.SetUID(types.UID(fmt.Sprintf("%s-%d", o.GetName(), version)))
		k.Put(version, o)
		return o.DeepCopyObject(), nil
	case clienttesting.UpdateActionImpl:
		o := a.Object.DeepCopyObject().(T)
		was, ok := k.Real[o.GetName()]
		if !ok {
			return nil, apierrors.NewNotFound(gr, o.GetName())
		}
		if v := o.GetResourceVersion(); v != "" && v != was.GetResourceVersion() {
			return nil, apierrors.NewConflict(gr, o.GetName(), errors.New("changed"))
		}
		o.SetUID(was.GetUID())
		k.Put(next(), o)
		return o.DeepCopyObject(), nil
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

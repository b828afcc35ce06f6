package statefulset

import (
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
)

// late is what is true of one kind of objects, and a cache that comes to know of it in order, but late.
type late[T metav1.Object] struct {
	t     *testing.T
	real  map[string]T
	cache *latetest.Indexer
	queue []change[T]
}

type change[T metav1.Object] struct {
	version int
	obj     T
	gone    bool
}

// indexers are those by controller and by namespace, as the informers have them.
func indexers[T any]() cache.Indexers {
	inf := cache.NewSharedIndexInformer(&cache.ListWatch{}, nil, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	index.AddController(inf)
	return inf.GetIndexer().GetIndexers()
}

func newLate[T metav1.Object](t *testing.T) *late[T] {
	return &late[T]{t: t, real: map[string]T{}, cache: &latetest.Indexer{Indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers[T]())}}
}

// put makes a change true.
func (l *late[T]) put(version int, o T) {
	o.SetResourceVersion(strconv.Itoa(version))
	l.real[o.GetName()] = o
	l.queue = append(l.queue, change[T]{version: version, obj: o})
}

func (l *late[T]) remove(version int, name string) {
	l.queue = append(l.queue, change[T]{version: version, obj: l.real[name], gone: true})
	delete(l.real, name)
}

// deliver shows the cache one change more.
func (l *late[T]) deliver() {
	if len(l.queue) == 0 {
		return
	}
	e := l.queue[0]
	l.queue = l.queue[1:]
	l.cache.Version = strconv.Itoa(e.version)
	write := l.cache.Update
	if e.gone {
		write = l.cache.Delete
	}
	if err := write(e.obj); err != nil {
		l.t.Fatal(err)
	}
}

// relist shows the cache what is true now: what came and went since is never seen.
func (l *late[T]) relist(version int) {
	var list []any
	for _, o := range l.real {
		list = append(list, o)
	}
	if err := l.cache.Replace(list, ""); err != nil {
		l.t.Fatal(err)
	}
	l.queue, l.cache.Version = nil, strconv.Itoa(version)
}

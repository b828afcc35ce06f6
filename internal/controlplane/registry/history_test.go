package registry

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"

	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
)

// process is what a start of the control plane makes of the storage of ConfigMaps.
type process struct {
	t       *testing.T
	storage *Storage
	store   *genericregistry.Store
	stop    func()
}

func started(t *testing.T, m *etcd.Member) *process {
	t.Helper()
	return startedWith(t, m, identity.NewEncryptCheckTransformer())
}

// startedWith is one that stores objects in that form.
func startedWith(t *testing.T, m *etcd.Member, form value.Transformer) *process {
	t.Helper()
	s := NewStorage(m.Client(), func(schema.GroupResource) value.Transformer { return form })
	r, err := New(Deps{Storage: s, Services: NewAllocator(m.Client(), nil)})
	if err != nil {
		t.Fatal(err)
	}
	return &process{t, s, r.Store(schema.GroupResource{Resource: "configmaps"}), func() {
		for _, s := range r.stores {
			s.DestroyFunc()
		}
		s.Close()
	}}
}

func inShop(ctx context.Context) context.Context { return genericapirequest.WithNamespace(ctx, "shop") }

func (p *process) create(name string) *corev1.ConfigMap {
	p.t.Helper()
	obj, err := p.store.Create(inShop(p.t.Context()), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return obj.(*corev1.ConfigMap)
}

func (p *process) set(name, value string) {
	p.t.Helper()
	_, _, err := p.store.Update(inShop(p.t.Context()), name, rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		next := old.(*corev1.ConfigMap).DeepCopy()
		next.Data = map[string]string{"value": value}
		return next, nil
	}), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) remove(name string) {
	p.t.Helper()
	if _, _, err := p.store.Delete(inShop(p.t.Context()), name, rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil {
		p.t.Fatal(err)
	}
}

// settled is closed when what list says is read from the cache.
func (p *process) settled() <-chan struct{} { return p.store.Storage.Storage.(delegator).cache.settled }

func (p *process) watch(revision string) (watch.Interface, error) {
	p.t.Helper()
	return p.store.Watch(inShop(p.t.Context()), &internalversion.ListOptions{ResourceVersion: revision})
}

// list has the values by name of what a reader gets who is content with anything that the cache has.
func (p *process) list() map[string]string {
	p.t.Helper()
	obj, err := p.store.List(inShop(p.t.Context()), &internalversion.ListOptions{ResourceVersion: "0"})
	if err != nil {
		p.t.Fatal(err)
	}
	values := map[string]string{}
	for _, c := range obj.(*corev1.ConfigMapList).Items {
		values[c.Name] = c.Data["value"]
	}
	return values
}

func TestAWatchGoesOnWhereItWasAfterARestart(t *testing.T) {
	m, err := etcd.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	p := started(t, m)
	for i := range 50 {
		p.create(fmt.Sprint("old-", i))
	}
	last := p.create("web").ResourceVersion
	p.set("web", "1")
	p.create("passing")
	p.remove("passing")
	p.remove("old-7")
	for range 5 {
		p.stop()
		p = started(t, m)
		if got := p.list(); len(got) != 50 || got["web"] != "1" {
			t.Errorf("after the restart a reader gets %v", got)
		}
	}
	defer p.stop()
	w, err := p.watch(last)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	p.set("web", "2")
	var got []string
	for len(got) < 5 {
		select {
		case e := <-w.ResultChan():
			if shared, ok := e.Object.(runtime.CacheableObject); ok {
				e.Object = shared.GetObject()
			}
			c, ok := e.Object.(*corev1.ConfigMap)
			if !ok {
				t.Fatalf("after %q came %v", got, e)
			}
			got = append(got, fmt.Sprint(e.Type, " ", c.Name, " ", c.Data["value"]))
		case <-time.After(10 * time.Second):
			t.Fatalf("after %q came no more", got)
		}
	}
	if want := "[MODIFIED web 1 ADDED passing  DELETED passing  DELETED old-7  MODIFIED web 2]"; fmt.Sprint(got) != want {
		t.Errorf("the watch went on with %v, want %s", got, want)
	}
}

// What etcd has no more of is read anew by who wants to know, as ever.
func TestAWatchOfWhatIsCompactedHasToBeginAnewAfterARestart(t *testing.T) {
	m, err := etcd.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	p := started(t, m)
	old := p.create("web").ResourceVersion
	p.set("web", "1")
	recent := p.create("other").ResourceVersion
	revision, err := strconv.ParseInt(recent, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Compact(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	p.set("other", "1")
	p.stop()

	p = started(t, m)
	defer p.stop()
	if got := p.list(); len(got) != 2 || got["web"] != "1" || got["other"] != "1" {
		t.Errorf("after the restart a reader gets %v", got)
	}
	w, err := p.watch(recent)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := <-w.ResultChan(); e.Type != watch.Modified {
		t.Errorf("a watch from where etcd begins went on with %v", e)
	}
	w, err = p.watch(old)
	if err == nil { // or it says so in the watch
		defer w.Stop()
		err = apierrors.FromObject((<-w.ResultChan()).Object)
	}
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch of what is compacted: %v", err)
	}
}

// The past may be in a form that nobody can read any more, as after a change of keys. Then the cache begins with what there is, and with none of what could be read of the past.
func TestAPastThatCannotBeReadLeavesNothingInTheCache(t *testing.T) {
	m, err := etcd.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	form := func(prefixes ...string) value.Transformer {
		var keys []value.PrefixTransformer
		for _, prefix := range prefixes {
			keys = append(keys, value.PrefixTransformer{Prefix: []byte(prefix), Transformer: identity.NewEncryptCheckTransformer()})
		}
		return value.NewPrefixTransformers(errors.New("no key for it"), keys...)
	}
	p := startedWith(t, m, form("first:"))
	p.create("web")
	p.stop()

	p = startedWith(t, m, form("second:", "first:"))
	revision, err := strconv.ParseInt(p.create("gone").ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Compact(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	p.set("web", "1")
	p.remove("gone")
	p.stop()

	p = startedWith(t, m, form("second:"))
	defer p.stop()
	<-p.settled()
	if got := p.list(); len(got) != 1 || got["web"] != "1" {
		t.Errorf("after the restart a reader gets %v", got)
	}
}

// Who waits for a cache that is stopped before it has settled is told, rather than kept waiting for as long as a watch may last.
func TestAWatchOfACacheThatNeverSettledEndsWithIt(t *testing.T) {
	m, err := etcd.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	p := startedWith(t, m, identity.NewEncryptCheckTransformer())
	p.create("web")
	p.stop()

	p = startedWith(t, m, value.NewPrefixTransformers(errors.New("no key for it")))
	told := make(chan error, 1)
	go func() {
		_, err := p.watch("")
		told <- err
	}()
	time.Sleep(50 * time.Millisecond) // it waits; if not yet, it is told all the same
	p.stop()
	select {
	case err := <-told:
		if err == nil {
			t.Error("a cache that could not be filled is watched")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the watch of a cache that was stopped does not end")
	}
}

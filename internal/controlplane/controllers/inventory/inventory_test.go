package inventory

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// kinds is a discovery whose resources can be changed while it is used.
type kinds struct {
	*fakediscovery.FakeDiscovery
	mu     sync.Mutex
	lists  []*metav1.APIResourceList
	failed map[schema.GroupVersion]error
}

func (k *kinds) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return k.lists, &discovery.ErrGroupDiscoveryFailed{Groups: k.failed}
	}
	return k.lists, nil
}

func (k *kinds) serve(failed map[schema.GroupVersion]error, lists ...*metav1.APIResourceList) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lists, k.failed = lists, failed
}

func list(groupVersion string, names ...string) *metav1.APIResourceList {
	l := &metav1.APIResourceList{GroupVersion: groupVersion}
	for _, n := range names {
		l.APIResources = append(l.APIResources, metav1.APIResource{Name: n, Kind: "K" + n, Namespaced: true, Verbs: metav1.Verbs{"get", "list", "watch", "delete"}})
	}
	return l
}

func TestKindsThatComeLaterAreWatchedAndThoseThatGoAreNot(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := &kinds{FakeDiscovery: &fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{}}}
	widget := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "example.com/v1", Kind: "Widget"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "w", UID: "1"},
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	meta := metadatafake.NewSimpleMetadataClient(scheme, widget)
	i := New(meta, d, informers.NewSharedInformerFactory(fake.NewClientset(), 0))
	seen := make(chan Event, 100)
	i.Listen(func(e Event) { seen <- e })
	d.serve(nil, list("v1", "configmaps", "events"))
	go i.Run(ctx)
	if !i.Wait(ctx) {
		t.Fatal("not ready")
	}
	names := func() (out []string) {
		i.mu.RLock()
		defer i.mu.RUnlock()
		for k := range i.monitors {
			out = append(out, k.String())
		}
		slices.Sort(out)
		return out
	}
	want := func(step string, want ...string) {
		t.Helper()
		if got := names(); !slices.Equal(got, want) {
			t.Errorf("%s: %q are watched, want %q", step, got, want)
		}
	}
	refresh := func() {
		t.Helper()
		if _, err := i.refresh(ctx, reconcile.Key{}); err != nil {
			t.Fatal(err)
		}
	}
	want("at first, Events left out", "configmaps")

	d.serve(nil, list("v1", "configmaps"), list("example.com/v1", "widgets"))
	refresh()
	want("a kind has come", "configmaps", "widgets.example.com")
	select {
	case e := <-seen:
		if e.New == nil || e.New.GetName() != "w" || e.Resource.Resource != "widgets" {
			t.Errorf("got the event %+v", e)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the object of the new kind was not announced")
	}

	d.serve(map[schema.GroupVersion]error{{Group: "example.com", Version: "v1"}: context.DeadlineExceeded}, list("v1", "configmaps"))
	refresh()
	want("its server does not answer", "configmaps", "widgets.example.com")
	if _, failed := i.Resources(); failed["example.com"] == nil {
		t.Error("that nothing is known about the group is not told")
	}

	d.serve(nil, list("v1", "configmaps"))
	refresh()
	want("it is gone", "configmaps")
}

package controllerrevision_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerrevision"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
)

// past is a history whose cache is filled by the test, if at all.
type past struct {
	*controllerrevision.History
	t     *testing.T
	e     *controllerstest.Env
	cache cache.Indexer
	owner controllerrevision.Owner
}

func newPast(t *testing.T) *past {
	e := controllerstest.New(t)
	inf := cache.NewSharedIndexInformer(&cache.ListWatch{}, &appsv1.ControllerRevision{}, 0, cache.Indexers{})
	index.AddController(inf)
	p := &past{t: t, e: e, cache: inf.GetIndexer()}
	p.History = controllerrevision.NewWithCache(e.Client, p.cache, "test")
	p.owner = controllerrevision.Owner{
		Object:   &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-web"}},
		Kind:     appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		Selector: labels.SelectorFromSet(labels.Set{"app": "web"}), HashLabel: "controller.kubernetes.io/hash", Limit: 2,
	}
	return p
}

// record gives the owner a template.
func (p *past) record(image string) controllerrevision.Recorded {
	p.t.Helper()
	p.owner.Template = &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
	}
	now, err := p.Record(p.e.Ctx, p.owner, p.list())
	if err != nil {
		p.t.Fatal(err)
	}
	p.owner.Collisions = now.Collisions
	return now
}

func (p *past) list() []*appsv1.ControllerRevision {
	p.t.Helper()
	own, err := p.List(p.e.Ctx, p.owner, func(context.Context) (metav1.Object, error) { return p.owner.Object, nil })
	if err != nil {
		p.t.Fatal(err)
	}
	return own
}

// catchUp shows the cache what is true.
func (p *past) catchUp() {
	p.t.Helper()
	var all []any
	for _, r := range p.stored() {
		all = append(all, &r)
	}
	if err := p.cache.Replace(all, ""); err != nil {
		p.t.Fatal(err)
	}
}

func (p *past) stored() []appsv1.ControllerRevision {
	p.t.Helper()
	list, err := p.e.Client.AppsV1().ControllerRevisions("default").List(p.e.Ctx, metav1.ListOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return list.Items
}

func (p *past) numbers(revisions []*appsv1.ControllerRevision) (out []int64) {
	for _, r := range revisions {
		out = append(out, r.Revision)
	}
	return out
}

func TestALateCacheGivesNoNumberTwice(t *testing.T) {
	p := newPast(t)
	p.record("one")
	p.record("two")
	three := p.record("three")
	if diff := cmp.Diff([]int64{1, 2, 3}, p.numbers(three.All)); diff != "" {
		t.Errorf("with nothing in the cache (-want +got):\n%s", diff)
	}
	p.catchUp()
	back := p.record("one")
	if diff := cmp.Diff([]int64{2, 3, 4}, p.numbers(back.All)); diff != "" || back.Revision.Revision != 4 {
		t.Errorf("back at the first, number %d (-want +got):\n%s", back.Revision.Revision, diff)
	}
	// The cache still has number 1.
	if again := p.record("one"); again.Revision.ResourceVersion != back.Revision.ResourceVersion {
		t.Errorf("number %d is written again", again.Revision.Revision)
	}
	if five := p.record("four"); five.Revision.Revision != 5 || len(p.stored()) != 4 {
		t.Errorf("number %d of %d, want 5 of 4", five.Revision.Revision, len(p.stored()))
	}
}

func TestARestartFindsItsOwnRevisionByName(t *testing.T) {
	p := newPast(t)
	first := p.record("one")
	p.History = controllerrevision.NewWithCache(p.e.Client, p.cache, "test") // the cache is empty still
	if again := p.record("one"); again.Revision.UID != first.Revision.UID || len(p.stored()) != 1 {
		t.Errorf("%d revisions, want the one of before", len(p.stored()))
	}
}

func TestTwoTemplatesOfOneHashGetTwoNames(t *testing.T) {
	p := newPast(t)
	// Another template has the name that the hash of "one" leads to, be it by chance.
	first := p.record("one").Revision
	client := p.e.Client.AppsV1().ControllerRevisions("default")
	if err := client.Delete(p.e.Ctx, first.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.Forget("uid-web")
	other := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: first.Name}, Data: runtime.RawExtension{Raw: []byte(`{"spec":{}}`)}, Revision: 7}
	if _, err := client.Create(p.e.Ctx, other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got := p.record("one")
	if got.Revision.Name == first.Name || *got.Collisions != 1 {
		t.Errorf("%s with %d collisions, want another name than %s after 1", got.Revision.Name, *got.Collisions, first.Name)
	}
	if again := p.record("one"); again.Revision.Name != got.Revision.Name || *again.Collisions != 1 {
		t.Errorf("next time %s with %d collisions", again.Revision.Name, *again.Collisions)
	}
}

func TestOrphansThatMatchAreAdoptedAndWhatMatchesNoMoreIsReleased(t *testing.T) {
	p := newPast(t)
	own := p.record("one").Revision
	client := p.e.Client.AppsV1().ControllerRevisions("default")
	for name, app := range map[string]string{"orphan": "web", "stranger": "db"} {
		r := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}}, Data: own.Data, Revision: 3}
		if _, err := client.Create(p.e.Ctx, r, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	moved := own.DeepCopy()
	moved.Labels = map[string]string{"app": "db"}
	if _, err := client.Update(p.e.Ctx, moved, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.catchUp()
	want := []string{"orphan"}
	for range 2 { // the second time the cache is late with the first
		var got []string
		for _, r := range p.list() {
			got = append(got, r.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("owned (-want +got):\n%s", diff)
		}
	}
	owned := map[string]bool{}
	for _, r := range p.stored() {
		owned[r.Name] = metav1.GetControllerOf(&r) != nil
	}
	if diff := cmp.Diff(map[string]bool{"orphan": true, "stranger": false, own.Name: false}, owned); diff != "" {
		t.Errorf("have a controller (-want +got):\n%s", diff)
	}
}

func TestTheOldestRevisionsGoButNotThoseInUse(t *testing.T) {
	p := newPast(t)
	var first, last controllerrevision.Recorded
	for i := range 5 {
		last = p.record(fmt.Sprint(i))
		if i == 0 {
			first = last
		}
	}
	inUse := sets.New(first.Revision.Name, last.Revision.Name)
	for range 2 { // the second time, of what the cache shows, some is gone
		p.catchUp()
		if err := p.Trim(p.e.Ctx, p.owner, p.list(), inUse); err != nil {
			t.Fatal(err)
		}
	}
	p.catchUp()
	if diff := cmp.Diff([]int64{1, 3, 4, 5}, p.numbers(p.list())); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestARevisionThatAnOwnerOfTheSameNameHasLeftIsNotTaken(t *testing.T) {
	p := newPast(t)
	left := p.record("one").Revision
	other := p.owner.Object.(*appsv1.StatefulSet).DeepCopy()
	other.UID = "uid-new"
	p.owner.Object = other
	if _, err := p.Record(p.e.Ctx, p.owner, nil); err == nil {
		t.Error("the new owner uses the revision of the one that is gone")
	}
	if err := p.e.Client.AppsV1().ControllerRevisions("default").Delete(p.e.Ctx, left.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := p.record("one"); !metav1.IsControlledBy(got.Revision, other) || ptr.Deref(got.Collisions, 0) != 0 {
		t.Errorf("got %+v", got.Revision.ObjectMeta)
	}
}

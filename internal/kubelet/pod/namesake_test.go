package pod

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

func TestAPodWaitsForAnotherOfItsNameUntilNothingIsLeftOfThat(t *testing.T) {
	events := record.NewFakeRecorder(10)
	n := &Node{Dir: t.TempDir(), Recorder: events}
	s := &Set{node: n, workers: map[types.UID]*worker{}}
	add := func(name string, uid types.UID) *worker {
		w := newWorker(n, &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: uid}}, func() {})
		w.room = share{s}
		s.workers[uid] = w
		return w
	}
	old := add("db-0", "a")
	old.prepared = true
	other, next := add("db-1", "b"), add("db-0", "c")
	if old.waits() || other.waits() {
		t.Error("one that runs, or is the only one of its name, waits")
	}
	for range 2 {
		if !next.waits() {
			t.Fatal("two Pods of one name may run")
		}
	}
	if len(events.Events) != 1 {
		t.Errorf("%d events, want one", len(events.Events))
	}
	old.down.Store(true)
	if next.waits() {
		t.Error("it waits for a Pod of which nothing is left")
	}
	next.drain()
	s.wake(old)
	select {
	case <-next.wake:
	default:
		t.Error("it is not told to look again")
	}
}

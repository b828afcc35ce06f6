package etcd

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestWhatAWatchWasToldCanBeRead(t *testing.T) {
	m, err := Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const writers, each = 8, 1500
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	watch := m.Client().Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-watch
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if _, err := m.Client().Put(ctx, fmt.Sprintf("/%d/%d", w, i), "x"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	missed := 0
	for seen := 0; seen < writers*each && !t.Failed(); {
		r := <-watch
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			seen++
			got, err := m.Client().Get(ctx, string(e.Kv.Key))
			if err != nil {
				t.Fatal(err)
			}
			if got.Count == 0 {
				missed++
			}
		}
	}
	all.Wait()
	if missed > 0 {
		t.Errorf("%d of %d keys could not be read when a watch had told of them", missed, writers*each)
	}
	cancel()
	for range watch { // it ends with its context
	}
}

func TestAWatchFromTheNextRevisionOnTellsItsProgressThoughNobodyWrites(t *testing.T) {
	m, err := Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	put := func(value string) int64 {
		t.Helper()
		r, err := m.Client().Put(ctx, "/a", value)
		if err != nil {
			t.Fatal(err)
		}
		return r.Header.Revision
	}
	before := put("before")
	watch := m.Client().Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(before+1))
	for told := false; !told; {
		if err := m.Client().RequestProgress(ctx); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-watch:
			if told = r.IsProgressNotify(); !told || r.Header.Revision != before {
				t.Fatalf("the watch says %+v, want that it is at revision %d", r, before)
			}
		case <-time.After(100 * time.Millisecond): // as the watch cache asks
		case <-ctx.Done():
			t.Fatal("the watch never says how far it is")
		}
	}
	after := put("after")
	for r := range watch {
		if r.IsProgressNotify() {
			continue
		}
		if len(r.Events) != 1 || r.Events[0].Kv.ModRevision != after || string(r.Events[0].Kv.Value) != "after" {
			t.Errorf("the watch brings %v, want what was written at revision %d", r.Events, after)
		}
		break
	}
}

func TestAWatchOfAnEarlierRevisionBringsAllThatFollowed(t *testing.T) {
	m, err := Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var first int64
	for i := range 5 {
		r, err := m.Client().Put(t.Context(), "/a", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = r.Header.Revision
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := ""
	for r := range m.Client().Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(first+2)) {
		for _, e := range r.Events {
			got += string(e.Kv.Value)
		}
		if len(got) >= 3 {
			break
		}
	}
	if got != "234" {
		t.Errorf("it brings %q, want 234", got)
	}
}

package etcd

import (
	"context"
	"fmt"
	"sync"
	"testing"

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

package etcd

import (
	"context"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// localKV reads what the member has applied, without asking raft first whether there is something newer. The member is alone: a write is acknowledged once it is on
// disk and has been applied here, so what is read is never older than an acknowledged write, which is all that asking would make sure of.
//
// A watch is told of a write a moment before it can be read. Whoever has heard of it must find it, so a read that is older than what a watch was told is done again in
// the way that waits for the write to be applied whole.
type localKV struct {
	clientv3.KV
	told *atomic.Int64 // the newest revision that a watch was told
}

func (k localKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	told := k.told.Load()
	resp, err := k.KV.Get(ctx, key, append(opts[:len(opts):len(opts)], clientv3.WithSerializable())...)
	if err != nil || resp.Header.Revision < told {
		return k.KV.Get(ctx, key, opts...)
	}
	return resp, nil
}

// localWatcher notes the revisions that watches are told, before they are.
type localWatcher struct {
	clientv3.Watcher
	told *atomic.Int64
}

func (w localWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	in, out := w.Watcher.Watch(ctx, key, opts...), make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		for r := range in {
			w.note(&r)
			select {
			case out <- r:
			case <-ctx.Done():
				return // and in is closed
			}
		}
	}()
	return out
}

func (w localWatcher) note(r *clientv3.WatchResponse) {
	newest := r.Header.Revision
	for _, e := range r.Events {
		newest = max(newest, e.Kv.ModRevision)
	}
	for old := w.told.Load(); old < newest && !w.told.CompareAndSwap(old, newest); old = w.told.Load() {
	}
}

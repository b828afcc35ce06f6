package etcd

import (
	"context"
	"slices"
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
//
// No watch of it waits for a revision to come: as long as one does, etcd tells none of them how far it is when they ask (RequestProgress), and who then waits for a watch
// cache to be as new as the store waits for somebody to write, which in a cluster at rest is nobody. A watch from the next revision on begins with the newest there is, and
// that is left out.
type localWatcher struct {
	clientv3.Watcher
	told *atomic.Int64
	rev  func() int64 // the newest revision there is
}

func (w localWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	from := clientv3.OpGet(key, opts...).Rev()
	if newest := w.rev(); from > newest {
		opts = append(opts[:len(opts):len(opts)], clientv3.WithRev(newest))
	}
	in, out := w.Watcher.Watch(ctx, key, opts...), make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		for r := range in {
			w.note(&r)
			if len(r.Events) > 0 {
				r.Events = slices.DeleteFunc(r.Events, func(e *clientv3.Event) bool { return e.Kv.ModRevision < from })
				if len(r.Events) == 0 {
					continue // and no word about progress
				}
			}
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

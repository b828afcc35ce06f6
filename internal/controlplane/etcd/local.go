package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// localKV reads what the member has applied, without asking raft first whether there is something newer. The member is alone: a write is acknowledged once it is on
// disk and has been applied here, so what is read is never older than an acknowledged write, which is all that asking would make sure of.
type localKV struct{ clientv3.KV }

func (k localKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return k.KV.Get(ctx, key, append(opts[:len(opts):len(opts)], clientv3.WithSerializable())...)
}

package registry

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
)

// Node ports come from this range unless another is configured (the API's own default).
const (
	MinNodePort = 30000
	MaxNodePort = 32767
)

// claims is the etcd folder of node ports: a key for each, whose value is the holder.
const claims = "/gitopsd/claims/"

func portClaim(port int32, protocol string) claim {
	return claim{port: port, protocol: strings.ToLower(protocol)}
}

func portKey(c claim) string {
	return claims + "port/" + c.protocol + "/" + strconv.Itoa(int(c.port))
}

// takePort takes a port for h, and returns which holder has it then. Taking what the holder already has succeeds, so that a repeated request is harmless.
func (a *Allocator) takePort(ctx context.Context, c claim, h clusterip.Holder, dryRun bool) (string, error) {
	key, holder := portKey(c), h.String()
	if dryRun {
		r, err := a.client.Get(ctx, key)
		if err != nil || len(r.Kvs) == 0 {
			return holder, err
		}
		return string(r.Kvs[0].Value), nil
	}
	r, err := a.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, holder)).Else(clientv3.OpGet(key)).Commit()
	if err != nil || r.Succeeded {
		return holder, err
	}
	return string(r.Responses[0].GetResponseRange().Kvs[0].Value), nil // it is there, as the comparison failed for that
}

func (a *Allocator) releasePort(ctx context.Context, c claim, h clusterip.Holder) error {
	key := portKey(c)
	_, err := a.client.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", h.String())).Then(clientv3.OpDelete(key)).Commit()
	return err
}

// claimPort takes the given node port.
func (a *Allocator) claimPort(ctx context.Context, port int32, protocol string, h clusterip.Holder, dryRun bool) error {
	if port < a.minPort || port > a.maxPort {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", a.minPort, a.maxPort)
	}
	holder, err := a.takePort(ctx, portClaim(port, protocol), h, dryRun)
	if err == nil && holder != h.String() {
		err = fmt.Errorf("provided port is already allocated, to Service %s: take another, or none for one that is free", path.Dir(holder)) // without its UID
	}
	return err
}

// nextPort takes a free node port for protocol.
func (a *Allocator) nextPort(ctx context.Context, protocol string, h clusterip.Holder, dryRun bool) (int32, error) {
	port, err := pick(ctx, uint64(a.minPort), uint64(a.maxPort), func(n uint64) (int32, bool, error) {
		holder, err := a.takePort(ctx, portClaim(int32(n), protocol), h, dryRun)
		return int32(n), holder == h.String(), err
	})
	if errors.Is(err, errFull) {
		return 0, fmt.Errorf("no node port is free in %d-%d: %w", a.minPort, a.maxPort, errFull)
	}
	return port, err
}

// repairPorts makes the claims of node ports those of held.
func (a *Allocator) repairPorts(ctx context.Context, held map[claim]clusterip.Holder) (freed, restored int, err error) {
	want := map[string]string{}
	for c, h := range held {
		if !c.ip.IsValid() {
			want[portKey(c)] = h.String()
		}
	}
	r, err := a.client.Get(ctx, claims, clientv3.WithPrefix())
	if err != nil {
		return 0, 0, fmt.Errorf("read the claims of node ports: %w", err)
	}
	for _, kv := range r.Kvs {
		key := string(kv.Key)
		if want[key] == string(kv.Value) {
			delete(want, key)
			continue
		}
		if _, err := a.client.Delete(ctx, key); err != nil {
			return freed, restored, fmt.Errorf("free %s: %w", path.Base(key), err)
		}
		freed++
	}
	for key, holder := range want {
		if _, err := a.client.Put(ctx, key, holder); err != nil {
			return freed, restored, fmt.Errorf("claim %s for %s: %w", path.Base(key), holder, err)
		}
		restored++
	}
	return freed, restored, nil
}

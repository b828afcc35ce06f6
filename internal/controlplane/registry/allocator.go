package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Node ports come from this range unless another is configured (the API's own default).
const (
	MinNodePort = 30000
	MaxNodePort = 32767
)

// claims is the etcd folder of everything that may be held by one Service only: a key per cluster IP and per node port, whose value is the holder.
const claims = "/gitopsd/claims/"

// Allocator hands out cluster IPs and node ports.
//
// A claim is one key in etcd, created in a transaction that fails when the key exists. No claim is kept in memory: two
// control planes cannot hand out the same one, and a restart forgets nothing. A process that dies between claiming and storing
// its Service leaves a claim with no holder; Repair frees those at the next start.
type Allocator struct {
	client           *clientv3.Client
	cidr             netip.Prefix
	minPort, maxPort int32
	// reserved are addresses that are for one Service each, by its "namespace/name/".
	reserved map[netip.Addr]string
}

// NewAllocator hands out addresses of cidr, an IPv4 prefix, and the default range of node ports.
func NewAllocator(client *clientv3.Client, cidr netip.Prefix) *Allocator {
	return &Allocator{client: client, cidr: cidr.Masked(), minPort: MinNodePort, maxPort: MaxNodePort}
}

// Reserve keeps an address for the Service of one name.
func (a *Allocator) Reserve(ip netip.Addr, namespace, name string) {
	if a.reserved == nil {
		a.reserved = map[netip.Addr]string{}
	}
	a.reserved[ip] = namespace + "/" + name + "/"
}

// isFor says whether the holder may have the address.
func (a *Allocator) isFor(ip netip.Addr, holder string) bool {
	only, reserved := a.reserved[ip]
	return !reserved || strings.HasPrefix(holder, only)
}

// What an allocation can fail with, besides errors of etcd.
var (
	errTaken    = errors.New("provided IP is already allocated")
	errReserved = errors.New("provided IP is kept for a Service of the cluster itself")
	errRange    = errors.New("provided IP is not in the valid range")
	errFull     = errors.New("range is full")
)

func (a *Allocator) ipKey(ip netip.Addr) string { return claims + "ip/" + ip.String() }

func (a *Allocator) portKey(port int32, protocol string) string {
	return claims + "port/" + strings.ToLower(protocol) + "/" + strconv.Itoa(int(port))
}

// claim takes key for holder. Taking what the holder already has succeeds, so that a repeated request is harmless.
func (a *Allocator) claim(ctx context.Context, key, holder string, dryRun bool) (bool, error) {
	if dryRun {
		r, err := a.client.Get(ctx, key)
		if err != nil {
			return false, err
		}
		return len(r.Kvs) == 0 || string(r.Kvs[0].Value) == holder, nil
	}
	r, err := a.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, holder)).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return false, err
	}
	if r.Succeeded {
		return true, nil
	}
	kvs := r.Responses[0].GetResponseRange().Kvs
	return len(kvs) == 1 && string(kvs[0].Value) == holder, nil
}

// release gives key back if holder has it.
func (a *Allocator) release(ctx context.Context, key, holder string) error {
	_, err := a.client.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", holder)).Then(clientv3.OpDelete(key)).Commit()
	return err
}

// releaseAll gives keys back. One that cannot be given back now is found by Repair at the next start.
func (a *Allocator) releaseAll(ctx context.Context, holder string, keys []string) {
	for _, k := range keys {
		if err := a.release(ctx, k, holder); err != nil {
			slog.Warn("a cluster IP or node port is not given back before the next start", "service", holder, "claim", path.Base(k), "err", err)
		}
	}
}

// claimIP takes the given address.
func (a *Allocator) claimIP(ctx context.Context, ip netip.Addr, holder string, dryRun bool) error {
	if !a.cidr.Contains(ip) || ip == a.cidr.Addr() || ip == lastAddr(a.cidr) {
		return fmt.Errorf("%w. The range of valid IPs is %s", errRange, a.cidr)
	}
	if !a.isFor(ip, holder) {
		return errReserved
	}
	ok, err := a.claim(ctx, a.ipKey(ip), holder, dryRun)
	if err == nil && !ok {
		err = errTaken
	}
	return err
}

// nextIP takes a free address, any above the band that is kept for addresses chosen by hand (KEP-3070) while there is one, then any.
func (a *Allocator) nextIP(ctx context.Context, holder string, dryRun bool) (netip.Addr, error) {
	size := uint32(1) << (32 - a.cidr.Bits())
	band := min(max(16, size/16), 256)
	if band >= size-1 {
		band = 0
	}
	for _, r := range [][2]uint32{{band + 1, size - 2}, {1, band}} {
		ip, err := pick(ctx, r[0], r[1], func(n uint32) (netip.Addr, bool, error) {
			ip := addrAt(a.cidr, n)
			if !a.isFor(ip, holder) {
				return ip, false, nil
			}
			ok, err := a.claim(ctx, a.ipKey(ip), holder, dryRun)
			return ip, ok, err
		})
		if !errors.Is(err, errFull) {
			return ip, err
		}
	}
	return netip.Addr{}, fmt.Errorf("no cluster IP is free in %s: %w", a.cidr, errFull)
}

// claimPort takes the given node port.
func (a *Allocator) claimPort(ctx context.Context, port int32, protocol, holder string, dryRun bool) error {
	if port < a.minPort || port > a.maxPort {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", a.minPort, a.maxPort)
	}
	ok, err := a.claim(ctx, a.portKey(port, protocol), holder, dryRun)
	if err == nil && !ok {
		err = errors.New("provided port is already allocated")
	}
	return err
}

// nextPort takes a free node port for protocol.
func (a *Allocator) nextPort(ctx context.Context, protocol, holder string, dryRun bool) (int32, error) {
	port, err := pick(ctx, uint32(a.minPort), uint32(a.maxPort), func(n uint32) (int32, bool, error) {
		ok, err := a.claim(ctx, a.portKey(int32(n), protocol), holder, dryRun)
		return int32(n), ok, err
	})
	if errors.Is(err, errFull) {
		return 0, fmt.Errorf("no node port is free in %d-%d: %w", a.minPort, a.maxPort, errFull)
	}
	return port, err
}

// pick tries the numbers from first to last, once each, from a random one on: neighbours in time do not become neighbours in the range.
func pick[T any](ctx context.Context, first, last uint32, try func(uint32) (T, bool, error)) (T, error) {
	var zero T
	if last < first {
		return zero, errFull
	}
	size := last - first + 1
	start := rand.Uint32N(size)
	for i := range size {
		v, ok, err := try(first + (start+i)%size)
		if err != nil {
			return zero, err
		}
		if ok {
			return v, nil
		}
		if ctx.Err() != nil {
			return zero, ctx.Err()
		}
	}
	return zero, errFull
}

// Repair frees every claim whose holder is not in held and claims what Services hold without one, as after a restore of an older
// snapshot. It must run before Services can be written. held maps the keys that Services use to their holders.
func (a *Allocator) Repair(ctx context.Context, held map[string]string) (freed, restored int, err error) {
	r, err := a.client.Get(ctx, claims, clientv3.WithPrefix())
	if err != nil {
		return 0, 0, fmt.Errorf("read the claims of cluster IPs and node ports: %w", err)
	}
	seen := map[string]bool{}
	for _, kv := range r.Kvs {
		key := string(kv.Key)
		if held[key] == string(kv.Value) {
			seen[key] = true
			continue
		}
		if _, err := a.client.Delete(ctx, key); err != nil {
			return freed, restored, fmt.Errorf("free %s: %w", path.Base(key), err)
		}
		freed++
	}
	for key, holder := range held {
		if seen[key] {
			continue
		}
		if _, err := a.client.Put(ctx, key, holder); err != nil {
			return freed, restored, fmt.Errorf("claim %s for %s: %w", path.Base(key), holder, err)
		}
		restored++
	}
	return freed, restored, nil
}

func addrAt(p netip.Prefix, n uint32) netip.Addr {
	b := p.Addr().As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func lastAddr(p netip.Prefix) netip.Addr { return addrAt(p, uint32(1)<<(32-p.Bits())-1) }

package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
)

// Allocator hands out cluster IPs and node ports.
//
// What is handed out is a key in etcd, created in a transaction that fails when the key exists: an IPAddress for a cluster IP, a claim
// of our own for a node port. None is kept in memory: two control planes cannot hand out the same one, and a restart forgets nothing. A
// process that dies between claiming and storing its Service leaves a claim with no holder; Repair frees those at the next start.
type Allocator struct {
	client           *clientv3.Client
	minPort, maxPort int32
	// families are those of the cluster's own ranges; the first is that of a Service which asks for none.
	families []corev1.IPFamily
	// reserved are addresses that are for one Service each.
	reserved map[netip.Addr]clusterip.Holder
	// registry stores IPAddresses and ServiceCIDRs.
	registry *Registry
}

// NewAllocator hands out cluster IPs of the families of the given ranges, of one family or two, and the default range of node ports. The
// addresses themselves come from ServiceCIDRs.
func NewAllocator(client *clientv3.Client, cidrs []netip.Prefix) *Allocator {
	a := &Allocator{client: client, minPort: MinNodePort, maxPort: MaxNodePort, reserved: map[netip.Addr]clusterip.Holder{}}
	for _, c := range cidrs {
		a.families = append(a.families, clusterip.Family(c.Addr()))
	}
	return a
}

// Reserve keeps an address for the Service of one name.
func (a *Allocator) Reserve(ip netip.Addr, namespace, name string) {
	a.reserved[ip] = clusterip.Holder{Namespace: namespace, Name: name}
}

// isFor says whether the holder may have the address.
func (a *Allocator) isFor(ip netip.Addr, h clusterip.Holder) bool {
	only, reserved := a.reserved[ip]
	return !reserved || only.Namespace == h.Namespace && only.Name == h.Name
}

// What an allocation can fail with, besides errors of etcd.
var (
	errTaken    = errors.New("provided IP is already allocated")
	errReserved = errors.New("provided IP is kept for a Service of the cluster itself")
	errRange    = errors.New("provided IP is not in the valid range")
	errFull     = errors.New("range is full")
)

// claim is something that one Service only may have: a cluster IP, or else a node port of a protocol.
type claim struct {
	ip       netip.Addr
	port     int32
	protocol string
}

func (c claim) String() string {
	if c.ip.IsValid() {
		return c.ip.String()
	}
	return fmt.Sprintf("%s/%d", c.protocol, c.port)
}

// release gives a claim back if the holder has it.
func (a *Allocator) release(ctx context.Context, c claim, h clusterip.Holder) error {
	if c.ip.IsValid() {
		return a.releaseIP(ctx, c.ip, h)
	}
	return a.releasePort(ctx, c, h)
}

// releaseAll gives claims back. One that cannot be given back now is found by Repair at the next start.
func (a *Allocator) releaseAll(ctx context.Context, h clusterip.Holder, all []claim) {
	for _, c := range all {
		if err := a.release(ctx, c, h); err != nil {
			slog.Warn("a cluster IP or node port is not given back before the next start", "service", h, "claim", c, "err", err)
		}
	}
}

// pick tries the numbers from first to last, once each, from a random one on: neighbours in time do not become neighbours in the range.
func pick[T any](ctx context.Context, first, last uint64, try func(uint64) (T, bool, error)) (T, error) {
	var zero T
	if last < first {
		return zero, errFull
	}
	size := last - first + 1
	start := rand.Uint64N(size)
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
// snapshot. It must run before Services can be written.
func (a *Allocator) Repair(ctx context.Context, services []corev1.Service) (freed, restored int, err error) {
	held := map[claim]clusterip.Holder{}
	for i := range services {
		for _, c := range claimsOf(&services[i]) {
			held[c] = clusterip.HolderOf(&services[i])
		}
	}
	for _, repair := range []func(context.Context, map[claim]clusterip.Holder) (freed, restored int, err error){a.repairPorts, a.repairIPs} {
		f, r, err := repair(ctx, held)
		freed, restored = freed+f, restored+r
		if err != nil {
			return freed, restored, err
		}
	}
	return freed, restored, nil
}

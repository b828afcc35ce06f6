package proxy

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/proxy/rules"
)

// byAddress is the index of EndpointSlices by their endpoints' addresses.
const byAddress = "gitopsd-proxy-address"

func addressesOf(obj any) ([]string, error) {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, nil
	}
	if _, ours := serviceOf(s); !ours {
		return nil, nil
	}
	var out []string
	for i := range s.Endpoints {
		out = append(out, s.Endpoints[i].Addresses...)
	}
	return out, nil
}

// callsReady says whether a slice has new connections sent to an address.
func callsReady(s *discoveryv1.EndpointSlice, addr string) bool {
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool {
		return slices.Contains(e.Addresses, addr) && ptr.Deref(e.Conditions.Ready, true)
	})
}

// uses counts, for each address, the endpoints that get new connections because they are ready. Those that get some only because no
// endpoint is ready do not count: nobody could wait for them to get none.
type uses map[netip.Addr]int

// add counts the endpoints of some Balancers n times.
func (u uses) add(list []rules.Balancer, n int) {
	for _, b := range list {
		for _, e := range b.Cluster {
			if !e.Terminating {
				u[e.Addr.Addr()] += n
			}
		}
	}
}

// kernel is what is known of the rules that the kernel has.
type kernel struct {
	mu   sync.Mutex
	uses uses
	// writtenAt is when the last write ended, and lag how long that was after the first event that it took account of.
	writtenAt time.Time
	lag       time.Duration
	changed   chan struct{} // closed at the next write; nil while nobody waits
}

// wrote takes in what a write has changed.
func (k *kernel) wrote(change uses, since time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.uses == nil {
		k.uses = uses{}
	}
	for a, n := range change {
		k.uses[a] += n
	}
	maps.DeleteFunc(k.uses, func(_ netip.Addr, n int) bool { return n == 0 })
	k.writtenAt = time.Now()
	k.lag = k.writtenAt.Sub(since)
	k.tell()
}

func (k *kernel) tell() {
	if k.changed != nil {
		close(k.changed)
		k.changed = nil
	}
}

// othersLag is how long another node's kernel may take at the least to have the same rules. Its own lag bounds nobody else's: on busy hosts one
// node was seen to be tens of milliseconds behind another, and in that time to send clients to a program that had closed its port.
const othersLag = 250 * time.Millisecond

// look says whether an address gets new connections, by when other nodes should know what this one does, and returns a channel that is
// closed at the next write.
func (k *kernel) look(a netip.Addr) (used bool, settled time.Time, changed <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changed == nil {
		k.changed = make(chan struct{})
	}
	return k.uses[a] > 0, k.writtenAt.Add(max(k.lag, othersLag)), k.changed
}

// Drained returns when no new connection is sent to a Pod's address any more: when no EndpointSlice calls it ready, this node's kernel has
// the rules that say so, and the other nodes, which were told at the same time, have had time to get there: as long again, and at least othersLag. It returns ctx's error
// when ctx ends before.
//
// A Pod that is told to stop only after that may close its port at once, and no client notices. For an address that no Service leads to it
// returns immediately.
func (p *Proxy) Drained(ctx context.Context, addr netip.Addr) error {
	for {
		used, settled, changed := p.kernel.look(addr)
		objs, err := p.slices.GetIndexer().ByIndex(byAddress, addr.String())
		if err != nil {
			return err
		}
		ready := slices.ContainsFunc(objs, func(obj any) bool {
			s, ok := obj.(*discoveryv1.EndpointSlice)
			return ok && callsReady(s, addr.String())
		})
		if !ready && !used {
			left := time.Until(settled)
			if len(objs) == 0 || left <= 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(left):
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

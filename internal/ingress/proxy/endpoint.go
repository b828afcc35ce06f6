package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// idleConns bounds the connections to one endpoint that wait for the next request, and idleTime how long each does.
	idleConns = 256
	idleTime  = 55 * time.Second
	// shunTime is how long an endpoint that could not be connected to is asked only when there is no other.
	shunTime = time.Second
)

// endpoint is one address. It outlives tables, with its connections.
type endpoint struct {
	address netip.AddrPort
	name    string
	cookie  string // stands for it, without telling its address
	active  atomic.Int64
	shunned atomic.Int64 // until then, in Unix nanoseconds

	mu   sync.Mutex
	idle []*conn // the one used last is at the end
	gone bool
}

func newEndpoint(address netip.AddrPort) *endpoint {
	name := address.String()
	sum := sha256.Sum256([]byte(name))
	return &endpoint{address: address, name: name, cookie: hex.EncodeToString(sum[:8])}
}

// take returns a connection that waits, or nil.
func (e *endpoint) take() *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.idle)
	if n == 0 {
		return nil
	}
	c := e.idle[n-1]
	e.idle = e.idle[:n-1]
	if time.Since(c.since) > idleTime { // and so have all others
		c.Close()
		e.drop()
		return nil
	}
	return c
}

// give keeps a connection for the next request.
func (e *endpoint) give(c *conn) {
	c.since = time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		c.Close()
		return
	}
	if len(e.idle) > 0 && (len(e.idle) >= idleConns || c.since.Sub(e.idle[0].since) > idleTime) {
		e.idle[0].Close()
		copy(e.idle, e.idle[1:])
		e.idle = e.idle[:len(e.idle)-1]
	}
	e.idle = append(e.idle, c)
}

func (e *endpoint) drop() {
	for _, c := range e.idle {
		c.Close()
	}
	e.idle = nil
}

// leave is for an endpoint that gets no request any more. Those under way go on.
func (e *endpoint) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	e.drop()
}

// pool is the endpoints of a backend.
type pool struct {
	endpoints []*endpoint
	next      atomic.Uint32
}

// pick chooses by turns, between two the one with less to do, and none of those that were tried if there is another. It returns nil when there is none.
func (p *pool) pick(tried []*endpoint) *endpoint {
	n := uint32(len(p.endpoints))
	if n == 0 {
		return nil
	}
	var best *endpoint
	var bestCost int64
	at, now, seen := p.next.Add(1), int64(0), 0
	for i := range n {
		e := p.endpoints[(at+i)%n]
		cost := e.active.Load()
		if until := e.shunned.Load(); until != 0 {
			if now == 0 {
				now = time.Now().UnixNano()
			}
			if now < until {
				cost += 1 << 40
			}
		}
		for _, t := range tried {
			if t == e {
				cost += 1 << 41
			}
		}
		if best == nil || cost < bestCost {
			best, bestCost = e, cost
		}
		if cost < 1<<40 {
			if seen++; seen == 2 {
				break
			}
		}
	}
	return best
}

// endpointFor is where the exchange goes, or nil. One that failed at an endpoint goes to those that are there by now: the endpoint may have
// left since the exchange began, and its successor be in a later table only.
func (x *exchange) endpointFor(tried []*endpoint) *endpoint {
	pl := x.s.pools[x.backend.Key]
	if len(tried) > 0 {
		if now := x.p.state.Load().pools[x.backend.Key]; now != nil {
			pl = now
		}
	}
	if pl == nil {
		return nil
	}
	if a := x.policy.Affinity; a != nil && len(tried) == 0 {
		if e := pl.named(x.r, a); e != nil {
			return e
		}
	}
	e := pl.pick(tried)
	if e != nil && x.policy.Affinity != nil {
		x.bind(e, x.policy.Affinity)
	}
	return e
}

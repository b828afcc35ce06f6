package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Times of asking other servers. Clients wait five seconds for an answer (resolv.conf(5)); they are told before that.
const (
	// patience is how long one server is waited for before the next is asked too. The first to answer is believed.
	patience = 300 * time.Millisecond
	// deadline bounds the whole.
	deadline = 4 * time.Second
	// downDeadline bounds it while no server is believed to answer, so that clients need not wait for what will most likely not come.
	downDeadline = time.Second
	// A server that did not answer is asked last for this long, at first and at most.
	minBackoff = time.Second
	maxBackoff = 30 * time.Second
)

// upstream is another server.
type upstream struct {
	addr string // host:port

	mu      sync.Mutex
	backoff time.Duration
	until   time.Time // it counts as down until then

	broken   atomic.Uint64 // how often it was found down
	requests atomic.Uint64
	seconds  histogram
}

// up says whether the server answered when it was last asked, or has been left alone for long enough.
func (u *upstream) up(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !now.Before(u.until)
}

func (u *upstream) failed(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.backoff = min(max(2*u.backoff, minBackoff), maxBackoff)
	u.until = now.Add(u.backoff)
	u.broken.Add(1)
}

func (u *upstream) answered() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.backoff, u.until = 0, time.Time{}
}

// ask sends one question and waits for its answer. Each has a socket and a number of its own, so that nobody can guess what to forge.
func (u *upstream) ask(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	began := time.Now()
	u.requests.Add(1)
	in, err := u.exchange(ctx, m, "udp")
	if err == nil && in.Truncated {
		in, err = u.exchange(ctx, m, "tcp")
	}
	switch {
	case err == nil:
		u.answered()
		u.seconds.observe(time.Since(began))
	case ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded): // and not because another was faster
		u.failed(time.Now())
	}
	return in, err
}

func (u *upstream) exchange(ctx context.Context, m *dns.Msg, network string) (*dns.Msg, error) {
	c := dns.Client{Net: network, UDPSize: maxUDP, Timeout: deadline}
	out := m.Copy()
	out.Id = dns.Id()
	in, _, err := c.ExchangeContext(ctx, out, u.addr)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", u.addr, err)
	}
	if len(in.Question) != 1 || !strings.EqualFold(in.Question[0].Name, out.Question[0].Name) || in.Question[0].Qtype != out.Question[0].Qtype {
		return nil, fmt.Errorf("ask %s: it answered another question", u.addr)
	}
	return in, nil
}

// errNoUpstream is why nothing is known about names outside the cluster where the host has no resolver.
var errNoUpstream = errors.New("no server to ask: the host's resolv.conf names none")

// group is the servers that know about the same names, in the order in which they are asked.
type group []*upstream

// ask asks one server after the other, those that are down last, and returns the first answer that says something. A server that refuses or
// fails may be alone in it: the next is asked, and only if all do is the client told. When all have been asked and none has answered, the
// packets may have been lost: they are sent once more.
func (g group) ask(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	if len(g) == 0 {
		return nil, errNoUpstream
	}
	order, down := g.order(time.Now())
	limit := deadline
	if down == len(g) {
		limit = downDeadline
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		from *upstream
		m    *dns.Msg
		err  error
	}
	results := make(chan result, 2*len(order))
	var asked group // that have not answered
	waiting := 0
	ask := func(u *upstream) {
		asked = append(asked, u)
		waiting++
		go func() {
			in, err := u.ask(ctx, m)
			results <- result{u, in, err}
		}()
	}
	first, again := order[1:], order
	ask(order[0])
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var last result
	for waiting > 0 {
		select {
		case r := <-results:
			waiting--
			if r.err == nil && r.m.Rcode != dns.RcodeServerFailure && r.m.Rcode != dns.RcodeRefused {
				asked.slowerThan(r.from)
				return r.m, nil
			}
			asked = slices.DeleteFunc(asked, func(u *upstream) bool { return u == r.from })
			if last.m == nil {
				last = r
			}
			if len(first) > 0 {
				ask(first[0])
				first = first[1:]
				timer.Reset(patience)
			}
		case <-timer.C:
			if len(first) > 0 {
				ask(first[0])
				first = first[1:]
			} else if len(again) > 0 {
				ask(again[0])
				again = again[1:]
			}
			timer.Reset(patience)
		}
	}
	return last.m, last.err
}

// slowerThan has those asked last in future that were asked before the one that has answered, and have not. Should they answer yet, it is forgotten.
func (g group) slowerThan(fast *upstream) {
	for _, u := range g {
		if u == fast {
			return
		}
		u.failed(time.Now())
	}
}

// order puts those first that are up, and counts those that are down.
func (g group) order(now time.Time) (order group, down int) {
	var late group
	for _, u := range g {
		if u.up(now) {
			order = append(order, u)
		} else {
			late = append(late, u)
		}
	}
	return append(order, late...), len(late)
}

// newUpstream takes an address as forward has it: an IP address with or without a port.
func newUpstream(address string) *upstream {
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), "53")
	}
	return &upstream{addr: address}
}

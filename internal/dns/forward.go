package dns

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"github.com/gitopsd/gitopsd/internal/dns/corefile"
)

// maxForwards bounds the questions that wait for other servers at one time.
const maxForwards = 1000

// forwarder asks other servers about names that the cluster does not know. It is made anew, with an empty cache, when its servers change.
type forwarder struct {
	ctx    context.Context
	stubs  []stub // the most specific first
	others group
	cache  *answerCache
	// flights joins clients who ask the same at the same time. So a question that comes back to this server, because one that it asks asks
	// it in turn, joins itself and goes no further.
	flights singleflight.Group
}

// stub is the servers of one domain.
type stub struct {
	apex    []byte
	servers group
}

// newForwarder makes a forwarder of a configuration, with hosts as the servers of all names for which it says nothing else.
func newForwarder(ctx context.Context, cfg corefile.Config, hosts []string, avoid func(address string) bool) *forwarder {
	f := &forwarder{ctx: ctx, cache: newCache()}
	servers := func(list []string) (g group) {
		for _, s := range list {
			if u := newUpstream(s); !avoid(u.addr) {
				g = append(g, u)
			}
		}
		return g
	}
	if len(cfg.Forward) == 0 {
		cfg.Forward = hosts
	}
	f.others = servers(cfg.Forward)
	for _, s := range cfg.Stubs {
		f.stubs = append(f.stubs, stub{wire(s.Domain), servers(s.Forward)})
	}
	slices.SortStableFunc(f.stubs, func(a, b stub) int { return len(b.apex) - len(a.apex) })
	return f
}

// servers are those to ask about a name.
func (f *forwarder) servers(q *query) group {
	for _, s := range f.stubs {
		if _, ok := q.below(s.apex); ok {
			return s.servers
		}
	}
	return f.others
}

// resolve finds an answer, by asking if it is not known. It returns within the deadline.
func (f *forwarder) resolve(q *query) *reply {
	if r := f.cache.get(q, time.Now()); r != nil {
		return r
	}
	key := string(q.lower()) + string([]byte{byte(q.kind >> 8), byte(q.kind), flag(q.do), flag(q.cd)})
	r, _, _ := f.flights.Do(key, func() (any, error) {
		r := f.ask(q)
		if r.expires.After(r.stored) {
			f.cache.put(q, r)
		}
		return r, nil
	})
	return r.(*reply)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (f *forwarder) ask(q *query) *reply {
	now := time.Now()
	failed := &reply{rcode: dns.RcodeServerFailure, stored: now, expires: now.Add(failureTTL)}
	name, _, err := dns.UnpackDomainName(q.lower(), 0)
	if err != nil {
		return failed
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{RecursionDesired: true, CheckingDisabled: q.cd}, Question: []dns.Question{{Name: name, Qtype: q.kind, Qclass: dns.ClassINET}}}
	m.SetEdns0(maxUDP, q.do)
	in, err := f.servers(q).ask(f.ctx, m)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			slog.Debug("a name could not be looked up", "component", "dns", "name", name, "err", err)
		}
		failed.stored = time.Now()
		failed.expires = failed.stored.Add(failureTTL)
		return failed
	}
	r, err := foreign(in, time.Now())
	if err != nil {
		return failed
	}
	return r
}

// groups are all servers that may be asked.
func (f *forwarder) groups() []group {
	out := []group{f.others}
	for _, s := range f.stubs {
		out = append(out, s.servers)
	}
	return out
}

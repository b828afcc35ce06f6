package dns

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/gitopsd/gitopsd/internal/dns/records"
)

// server answers questions: what the cluster knows and what is cached at once, all else by asking other servers.
type server struct {
	zone    *zone
	forward atomic.Pointer[forwarder]
	// forwards has a place for each question that waits for other servers.
	forwards    chan struct{}
	count       counters
	turn        atomic.Uint32
	connections connections
}

func newServer(z *zone) *server {
	return &server{zone: z, forwards: make(chan struct{}, maxForwards)}
}

// transport is what the way a question came by means for its answer.
type transport struct {
	proto  int // protoUDP or protoTCP
	family int // 4 or 6
}

// limit is the size of the largest answer.
func (t transport) limit(q *query) int {
	if t.proto == protoTCP {
		return maxTCP
	}
	return q.size
}

// quick answers at once, or says that others must be asked (wait). An empty answer to a question that need not wait is none at all. The
// answer is written into out.
func (s *server) quick(q *query, msg, out []byte, t transport) (resp []byte, wait bool) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.count.panics.Add(1)
			slog.Error("a DNS message made the server panic", "component", "dns", "panic", p, "stack", string(debug.Stack()))
			resp, wait = nil, false
		}
	}()
	v, code := q.parse(msg)
	switch v {
	case drop:
		s.count.dropped.Add(1)
		return nil, false
	case refuse:
		s.count.request(q, t, zoneDropped, len(msg))
		resp = failure(q, out, code)
		s.count.response(zoneDropped, code, pluginNone, len(resp), time.Since(began))
		return resp, false
	}
	r, alias, mine := s.zone.lookup(q)
	if mine {
		s.count.request(q, t, zoneCluster, len(msg))
		if alias != "" {
			return nil, true
		}
		resp = r.to(q, out, t.limit(q), s.turn.Add(1), began)
		s.count.response(zoneCluster, r.rcode, pluginKubernetes, len(resp), time.Since(began))
		return resp, false
	}
	s.count.request(q, t, zoneOthers, len(msg))
	f := s.forward.Load()
	if f == nil {
		resp = failure(q, out, dns.RcodeServerFailure)
		s.count.response(zoneOthers, dns.RcodeServerFailure, pluginForward, len(resp), time.Since(began))
		return resp, false
	}
	if r := f.cache.get(q, began); r != nil {
		s.count.cached(r)
		resp = r.to(q, out, t.limit(q), 0, began)
		s.count.response(zoneOthers, r.rcode, pluginCache, len(resp), time.Since(began))
		return resp, false
	}
	s.count.misses.Add(1)
	return nil, true
}

// slow answers what others must be asked about, or where an alias leads. It returns within the deadline.
func (s *server) slow(msg, out []byte, t transport) (resp []byte) {
	began := time.Now()
	var q query
	defer func() {
		if p := recover(); p != nil {
			s.count.panics.Add(1)
			slog.Error("a DNS message made the server panic", "component", "dns", "panic", p, "stack", string(debug.Stack()))
			resp = nil
		}
	}()
	if v, _ := q.parse(msg); v != answer {
		return nil
	}
	select {
	case s.forwards <- struct{}{}:
		defer func() { <-s.forwards }()
	default:
		s.count.rejected.Add(1)
		resp = failure(&q, out, dns.RcodeServerFailure)
		s.count.response(zoneOthers, dns.RcodeServerFailure, pluginForward, len(resp), time.Since(began))
		return resp
	}
	r, alias, mine := s.zone.lookup(&q)
	zone, plugin := zoneCluster, pluginKubernetes
	switch {
	case mine && alias != "":
		r = s.chase(&q, alias)
	case !mine:
		zone, plugin = zoneOthers, pluginForward
		r = s.foreign(&q)
	}
	resp = r.to(&q, out, t.limit(&q), s.turn.Add(1), time.Now())
	s.count.response(zone, r.rcode, plugin, len(resp), time.Since(began))
	return resp
}

func (s *server) foreign(q *query) *reply {
	if f := s.forward.Load(); f != nil {
		return f.resolve(q)
	}
	return &reply{rcode: dns.RcodeServerFailure}
}

// maxAliases bounds how many aliases of the cluster are followed for one question: ExternalName Services may lead to each other in a circle.
const maxAliases = 8

// chase follows an alias and tells its way and what is at its end.
func (s *server) chase(q *query, alias string) *reply {
	name, _, err := dns.UnpackDomainName(q.lower(), 0)
	if err != nil {
		return s.zone.unknown
	}
	var way []dns.RR
	owner := name
	at := *q
	for range maxAliases {
		way = append(way, &dns.CNAME{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: records.TTL}, Target: alias})
		next, err := at.renamed(alias)
		if err != nil {
			return s.zone.unknown
		}
		owner, at = alias, *next
		r, further, mine := s.zone.lookup(&at)
		if !mine {
			r = s.foreign(&at)
		}
		if further == "" {
			return joined(name, way, &at, r)
		}
		alias = further
	}
	return &reply{rcode: dns.RcodeServerFailure, authoritative: true}
}

// joined is the way of aliases, and behind it what was said about its end.
func joined(name string, way []dns.RR, at *query, end *reply) *reply {
	var m dns.Msg
	if err := m.Unpack(end.to(at, make([]byte, 0, maxTCP), maxTCP, 0, time.Now())); err != nil {
		return &reply{rcode: dns.RcodeServerFailure, authoritative: true}
	}
	r, err := makeReply(name, end.rcode, append(way, m.Answer...), m.Ns, nil)
	if err != nil {
		return &reply{rcode: dns.RcodeServerFailure, authoritative: true}
	}
	return r
}

// renamed is the same question about another name.
func (q *query) renamed(name string) (*query, error) {
	m := dns.Msg{Question: []dns.Question{{Name: name, Qtype: q.kind, Qclass: dns.ClassINET}}}
	packed, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("ask about %q: %w", name, err)
	}
	var out query
	if v, _ := out.parse(packed); v != answer {
		return nil, fmt.Errorf("ask about %q: not a name", name)
	}
	out.do, out.cd = q.do, q.cd
	return &out, nil
}

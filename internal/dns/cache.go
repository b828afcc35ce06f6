package dns

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of what is kept of other servers' answers.
const (
	cacheShards  = 64
	cacheEntries = 10_000
	maxKept      = 4 << 10 // bytes of one answer; few that are honest come near
	maxTTL       = time.Hour
	maxNegative  = 5 * time.Minute
	// failureTTL is how long it is remembered that no server answered (RFC 9520, section 3.2: at least a second).
	failureTTL = time.Second
)

// cacheKey is what one answer is for: the name in wire form and lower case, the type, and what the client asked for beside it.
type cacheKey struct {
	name   string
	kind   uint16
	do, cd bool
}

// answerCache keeps other servers' answers, positive and negative, until their TTL has run out. It is bounded: in a full part any one entry
// makes room for the next, as nobody who asks for many names may keep what others ask for from being kept.
type answerCache struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu      sync.RWMutex
	entries map[cacheKey]*reply
}

func newCache() *answerCache {
	c := &answerCache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].entries = map[cacheKey]*reply{}
	}
	return c
}

func (c *answerCache) shard(name []byte) *cacheShard {
	return &c.shards[maphash.Bytes(c.seed, name)%cacheShards]
}

// get returns what is kept for a question.
func (c *answerCache) get(q *query, now time.Time) *reply {
	s := c.shard(q.lower())
	s.mu.RLock()
	// The conversion within the look-up copies nothing.
	r := s.entries[cacheKey{string(q.lower()), q.kind, q.do, q.cd}]
	s.mu.RUnlock()
	if r == nil || !now.Before(r.expires) {
		return nil
	}
	return r
}

// put keeps a reply, unless it is a large one: the number of entries alone would not bound the memory that they take.
func (c *answerCache) put(q *query, r *reply) {
	if len(r.body) > maxKept {
		return
	}
	s := c.shard(q.lower())
	s.mu.Lock()
	defer s.mu.Unlock()
	key := cacheKey{string(q.lower()), q.kind, q.do, q.cd}
	if _, ok := s.entries[key]; !ok && len(s.entries) >= cacheEntries/cacheShards {
		for other := range s.entries {
			delete(s.entries, other)
			break
		}
	}
	s.entries[key] = r
}

// size counts successes and denials, as CoreDNS calls them.
func (c *answerCache) size() (success, denial int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		for _, r := range s.entries {
			if r.answers > 0 {
				success++
			} else {
				denial++
			}
		}
		s.mu.RUnlock()
	}
	return success, denial
}

// keep says how long an answer may be kept: as long as the shortest-lived of its records, and one without any as long as the zone's start of
// authority says (RFC 2308, section 5). Zero: not at all.
func keep(m *dns.Msg) time.Duration {
	least := func(list []dns.RR, ttl uint32) uint32 {
		for _, rr := range list {
			ttl = min(ttl, rr.Header().Ttl)
		}
		return ttl
	}
	switch {
	case m.Rcode == dns.RcodeServerFailure:
		return failureTTL
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return 0
	case m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0:
		ttl := least(m.Ns, least(m.Answer, uint32(maxTTL/time.Second)))
		return time.Duration(ttl) * time.Second
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			ttl := least(m.Answer, min(soa.Hdr.Ttl, soa.Minttl, uint32(maxNegative/time.Second)))
			return time.Duration(ttl) * time.Second
		}
	}
	return 0
}

// foreign makes a reply of another server's answer. It is packed anew: nothing that the server sent reaches a client unread.
func foreign(m *dns.Msg, now time.Time) (*reply, error) {
	out := &dns.Msg{Question: m.Question, Answer: m.Answer, Ns: m.Ns, Compress: true}
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeOPT && rr.Header().Rrtype != dns.TypeTSIG {
			out.Extra = append(out.Extra, rr)
		}
	}
	packed, err := out.Pack()
	if err != nil {
		return nil, err
	}
	r := &reply{rcode: m.Rcode, answers: len(out.Answer), authority: len(out.Ns), additional: len(out.Extra), stored: now, expires: now.Add(keep(m))}
	at, _ := skipName(packed, headerSize)
	begin := at + 4
	at = begin
	for i := range r.answers + r.authority + r.additional {
		at, _ = skipName(packed, at)
		r.ttls = append(r.ttls, at+4-begin)
		at += 10 + int(packed[at+8])<<8 + int(packed[at+9])
		if i < r.answers {
			r.ends = append(r.ends, at-begin)
		}
	}
	r.body = packed[begin:]
	return r, nil
}

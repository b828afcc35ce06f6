package proxy

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

const (
	limitShards = 64
	// limitEntries bounds the clients that a shard remembers. When there are more, those that have been silent for long enough to have all their
	// requests back are forgotten.
	limitEntries = 4096
)

// limiter remembers what clients have used of their limits.
type limiter struct {
	seed   maphash.Seed
	shards [limitShards]limitShard
}

type limitShard struct {
	mu      sync.Mutex
	clients map[limitKey]*used
}

// limitKey is a client of a route's owner.
type limitKey struct {
	owner  string
	client netip.Addr
}

type used struct {
	second, minute *rate.Limiter
	active         int
	last           time.Time
}

func (l *limiter) init() {
	l.seed = maphash.MakeSeed()
	for i := range l.shards {
		l.shards[i].clients = map[limitKey]*used{}
	}
}

// admit takes one request of a client's, or refuses it. release, where there is one, ends it.
func (l *limiter) admit(owner string, client netip.Addr, p *routes.Policy) (release func(), ok bool) {
	k := limitKey{owner, client}
	s := &l.shards[maphash.Comparable(l.seed, k)%limitShards]
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.clients[k]
	if u == nil {
		if len(s.clients) >= limitEntries {
			s.forget(now)
		}
		u = &used{second: rate.NewLimiter(0, 0), minute: rate.NewLimiter(0, 0)}
		setLimits(u, p, now, true)
		s.clients[k] = u
	}
	setLimits(u, p, now, false)
	u.last = now
	if p.Connections > 0 && u.active >= p.Connections || p.PerSecond > 0 && !u.second.AllowN(now, 1) || p.PerMinute > 0 && !u.minute.AllowN(now, 1) {
		return nil, false
	}
	if p.Connections == 0 {
		return nil, true
	}
	u.active++
	return func() {
		s.mu.Lock()
		u.active--
		s.mu.Unlock()
	}, true
}

// setLimits follows a policy that has changed.
func setLimits(u *used, p *routes.Policy, now time.Time, fresh bool) {
	set := func(l **rate.Limiter, per rate.Limit, n int) {
		burst := n * max(p.Burst, 1)
		if fresh {
			*l = rate.NewLimiter(per, burst)
		} else if (*l).Limit() != per || (*l).Burst() != burst {
			(*l).SetLimitAt(now, per)
			(*l).SetBurstAt(now, burst)
		}
	}
	set(&u.second, rate.Limit(p.PerSecond), p.PerSecond)
	set(&u.minute, rate.Limit(float64(p.PerMinute)/60), p.PerMinute)
}

func (s *limitShard) forget(now time.Time) {
	for k, u := range s.clients {
		if u.active == 0 && now.Sub(u.last) > time.Minute {
			delete(s.clients, k)
		}
	}
	for k, u := range s.clients { // an attack from many addresses
		if len(s.clients) < limitEntries {
			return
		}
		if u.active == 0 {
			delete(s.clients, k)
		}
	}
}

package webhook

import (
	"net"
	"sync"

	"golang.org/x/time/rate"
)

const (
	// perSecond and burst bound the posts of one address: a host that pushes a hundred repositories at once fits in.
	perSecond = 20
	burst     = 200
	// maxAddresses bounds the memory that strangers can make this use.
	maxAddresses = 1024
)

// limits counts requests by address. The zero value is ready.
type limits struct {
	mu   sync.Mutex
	from map[string]*rate.Limiter
}

func (l *limits) allow(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from == nil {
		l.from = map[string]*rate.Limiter{}
	}
	lim, ok := l.from[host]
	if !ok {
		if len(l.from) >= maxAddresses {
			// Any address will do: one that comes back begins with a full burst, which is still a bound.
			for k := range l.from {
				delete(l.from, k)
				break
			}
		}
		lim = rate.NewLimiter(perSecond, burst)
		l.from[host] = lim
	}
	return lim.Allow()
}

package daemonset

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// A failed Pod goes at once, if it is the first on its node; the next after 1 s, then 2 s, 4 s, at most 15 min. A node that had no failure for twice the longest
// time begins anew.
const (
	firstDelay = time.Second
	maxDelay   = 15 * time.Minute
)

// backoff remembers the failures of daemons. The zero value is ready to use. It is safe for concurrent use. It may be lost: a restart costs one Pod per node.
type backoff struct {
	mu   sync.Mutex
	sets map[types.UID]map[string]failure // by node
}

type failure struct {
	at    time.Time
	delay time.Duration // from at
}

// failed notes that a failed Pod of the node is replaced.
func (b *backoff) failed(set types.UID, node string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sets == nil {
		b.sets = map[types.UID]map[string]failure{}
	}
	if b.sets[set] == nil {
		b.sets[set] = map[string]failure{}
	}
	last := b.sets[set][node]
	delay := firstDelay
	if now.Sub(last.at) < 2*maxDelay {
		delay = min(maxDelay, max(firstDelay, 2*last.delay))
	}
	b.sets[set][node] = failure{at: now, delay: delay}
}

// left is, by node, the time until a failed Pod may be replaced.
func (b *backoff) left(set types.UID, now time.Time) map[string]time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out map[string]time.Duration
	for node, f := range b.sets[set] {
		switch left := f.at.Add(f.delay).Sub(now); {
		case left > 0:
			if out == nil {
				out = map[string]time.Duration{}
			}
			out[node] = left
		case now.Sub(f.at) >= 2*maxDelay:
			delete(b.sets[set], node)
		}
	}
	return out
}

// forget drops what is remembered about a DaemonSet that is gone.
func (b *backoff) forget(set types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sets, set)
}

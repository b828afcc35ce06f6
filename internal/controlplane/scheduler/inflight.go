package scheduler

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// maxCalls bounds the API calls under way at once.
const maxCalls = 32

// call is an API call about a Pod.
type call struct {
	pod types.UID
	do  func()
}

// calls runs API calls beside the loop: many at a time, but those about one Pod one after another, in the order in which they were started. What says
// that a Pod waits must not be written after what binds it.
type calls struct {
	tokens chan struct{} // one for each call under way
	busy   sync.WaitGroup

	mu   sync.Mutex
	last map[types.UID]chan struct{} // closed when the last call about a Pod has ended
}

func newCalls() *calls {
	return &calls{tokens: make(chan struct{}, maxCalls), last: map[types.UID]chan struct{}{}}
}

// start runs a call, and waits while too many are under way. After ctx has ended it does nothing.
func (c *calls) start(ctx context.Context, k call) {
	select {
	case c.tokens <- struct{}{}:
	case <-ctx.Done():
		return
	}
	// A call waits for one before it only once both have their token: calls cannot wait for each other in a circle.
	done := make(chan struct{})
	c.mu.Lock()
	before := c.last[k.pod]
	c.last[k.pod] = done
	c.mu.Unlock()
	c.busy.Go(func() {
		defer func() { <-c.tokens }()
		if before != nil {
			<-before
		}
		k.do()
		c.mu.Lock()
		if c.last[k.pod] == done {
			delete(c.last, k.pod)
		}
		c.mu.Unlock()
		close(done)
	})
}

// wait returns when no call is under way.
func (c *calls) wait() { c.busy.Wait() }

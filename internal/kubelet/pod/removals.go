package pod

import (
	"context"
	"sync"
)

// removals are the containers of a Pod that are being removed. An attempt that could not be created is tried again under the same ID, and the removal of what the first try has left
// must not take the second.
type removals struct {
	mu    sync.Mutex
	going map[string]chan struct{}
}

// begin has remove done beside whoever calls, once at a time for an ID.
func (r *removals) begin(id string, remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.going[id] != nil {
		return
	}
	if r.going == nil {
		r.going = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	r.going[id] = done
	go func() {
		remove()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.going, id)
		close(done)
	}()
}

// over returns when no container of this ID is being removed, or with ctx's error when it ends before.
func (r *removals) over(ctx context.Context, id string) error {
	r.mu.Lock()
	done := r.going[id]
	r.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

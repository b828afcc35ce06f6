package reconcile

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Calls that wait hold up nobody, and when they go on there are no more at once than before.
func TestCallsThatWaitHoldUpNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers, silent = 3, 20
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan struct{})
		var waiting, after, most, other atomic.Int64
		l := New("test", func(ctx context.Context, k Key) (Result, error) {
			if k.Name == "other" {
				other.Add(1)
				return Result{}, nil
			}
			Await(ctx, func(ctx context.Context) {
				waiting.Add(1)
				Await(ctx, func(context.Context) { <-answer }) // as one that waits for a lock while it waits for a host
			})
			n := after.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			after.Add(-1)
			return Result{}, nil
		})
		for i := range silent {
			l.Enqueue(Key{Name: fmt.Sprint(i)})
		}
		done := make(chan struct{})
		go func() { l.Run(ctx, workers); close(done) }()
		time.Sleep(silent * patience)
		if waiting.Load() != silent {
			t.Errorf("%d wait, want all %d", waiting.Load(), silent)
		}
		l.Enqueue(Key{Name: "other"})
		time.Sleep(patience)
		if other.Load() != 1 {
			t.Error("what has nothing to do with them is held up")
		}
		close(answer)
		time.Sleep(time.Minute)
		if after.Load() != 0 || most.Load() != workers {
			t.Errorf("%d went on at once, want %d; %d did not end", most.Load(), workers, after.Load())
		}
		for i := range silent {
			l.Enqueue(Key{Name: fmt.Sprint(i)}) // a worker that is one too many ends when it has done something
		}
		time.Sleep(time.Minute)
		if n := l.spare.Load(); n != 0 {
			t.Errorf("%d workers too many", n)
		}
		cancel()
		<-done
	})
}

func TestACallThatWaitsAmidAPanicGivesItsTurnBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		l := New("test", func(ctx context.Context, _ Key) (Result, error) {
			if calls.Add(1) <= 3 {
				Await(ctx, func(context.Context) {
					time.Sleep(time.Second)
					panic("a server's answer that a library chokes on")
				})
			}
			return Result{}, nil
		})
		l.Enqueue(Key{Name: "a"})
		done := make(chan struct{})
		go func() { l.Run(ctx, 1); close(done) }()
		time.Sleep(time.Minute)
		l.Enqueue(Key{Name: "b"})
		time.Sleep(time.Second)
		if calls.Load() != 5 || len(l.turns) != 0 {
			t.Errorf("%d calls, want 5; %d turns taken", calls.Load(), len(l.turns))
		}
		cancel()
		<-done
	})
}

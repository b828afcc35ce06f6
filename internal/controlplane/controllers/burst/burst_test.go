package burst

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryWriteIsSentOnce(t *testing.T) {
	for _, send := range []func(int, func(int) error) error{Each, Growing} {
		var sent [200]atomic.Int32
		if err := send(len(sent), func(i int) error { sent[i].Add(1); return nil }); err != nil {
			t.Fatal(err)
		}
		for i := range sent {
			if n := sent[i].Load(); n != 1 {
				t.Errorf("write %d was sent %d times", i, n)
			}
		}
	}
}

func TestAllTogetherHaveNoMoreUnderWayThanThereIsRoomFor(t *testing.T) {
	shared := slots
	defer func() { slots = shared }()
	synctest.Test(t, func(t *testing.T) {
		slots = make(chan struct{}, cap(slots)) // of this bubble
		var now, most atomic.Int32
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				_ = Each(2*cap(slots), func(int) error {
					for n := now.Add(1); ; {
						if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
							break
						}
					}
					time.Sleep(slow / 2)
					now.Add(-1)
					return nil
				})
			})
		}
		all.Wait()
		if n := most.Load(); int(n) != cap(slots) {
			t.Errorf("%d calls were under way at the same time, want %d", n, cap(slots))
		}
	})
}

func TestSlowWritesDoNotKeepOthersWaiting(t *testing.T) {
	shared := slots
	defer func() { slots = shared }()
	synctest.Test(t, func(t *testing.T) {
		slots = make(chan struct{}, cap(slots)) // of this bubble
		var all sync.WaitGroup
		all.Go(func() { _ = Each(maxParallel, func(int) error { time.Sleep(time.Minute); return nil }) })
		synctest.Wait()
		start := time.Now()
		_ = Each(1, func(int) error { return nil })
		if took := time.Since(start); took > 2*slow {
			t.Errorf("a quick write waited for slow ones for %v", took)
		}
		all.Wait()
	})
}

func TestWhenAllAreRefusedFewAreSent(t *testing.T) {
	refused := errors.New("over quota")
	var sent atomic.Int32
	err := Growing(1000, func(int) error { sent.Add(1); return refused })
	if n := sent.Load(); !errors.Is(err, refused) || n > 10 {
		t.Errorf("%d of 1000 were sent, then %v", n, err)
	}
}

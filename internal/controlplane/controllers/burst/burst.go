package burst

import (
	"cmp"
	"runtime"
	"sync"
	"time"
)

const (
	maxParallel = 64 // of one call of Each
	// perProcessor and fewest bound how many writes of all controllers are worked on at the same time.
	perProcessor = 16
	fewest       = 32
	// slow is a write that somebody else is waited for: a webhook, such as only some namespaces have.
	slow = time.Second
	// first and growth: a thousand Pods that are all refused (a quota, an admission webhook) cost a handful of requests, and a hundred that are all accepted
	// four round trips.
	first  = 4
	growth = 4
)

// slots are shared by all controllers of the process. The API server serves them before everybody else, so with hundreds of Pods being made at the same time the nodes that are to run those made before
// would not be heard; and more than this keeps processors no busier. A slow write gives its slot back before it ends.
var slots = make(chan struct{}, max(perProcessor*runtime.GOMAXPROCS(0), fewest))

// Each calls f(0) … f(n-1), at most 64 at once and only as many as there is room for, and returns the first error: when many fail, they nearly always fail alike.
func Each(n int, f func(i int) error) error {
	errs := make([]error, n)
	own := make(chan struct{}, maxParallel)
	var wg sync.WaitGroup
	for i := range n {
		own <- struct{}{}
		slots <- struct{}{}
		wg.Go(func() {
			free := sync.OnceFunc(func() { <-slots })
			defer time.AfterFunc(slow, free).Stop()
			errs[i] = f(i)
			free()
			<-own
		})
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// Growing does the same in batches, a few at first and then more, and begins no batch once a call has failed.
func Growing(n int, f func(i int) error) error {
	for done, batch := 0, first; done < n; batch *= growth {
		k := min(n-done, batch)
		if err := Each(k, func(i int) error { return f(done + i) }); err != nil {
			return err
		}
		done += k
	}
	return nil
}

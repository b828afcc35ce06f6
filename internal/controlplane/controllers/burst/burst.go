package burst

import (
	"cmp"
	"sync"
)

const (
	maxParallel = 64
	// first and growth: a thousand Pods that are all refused (a quota, an admission webhook) cost a handful of requests, and a hundred that are all accepted
	// four round trips.
	first  = 4
	growth = 4
)

// Each calls f(0) … f(n-1), at most 64 at once, and returns the first error: when many fail, they nearly always fail alike.
func Each(n int, f func(i int) error) error {
	errs := make([]error, n)
	slots := make(chan struct{}, maxParallel)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			errs[i] = f(i)
			<-slots
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

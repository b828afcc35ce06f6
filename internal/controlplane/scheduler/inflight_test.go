package scheduler

import (
	"context"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCallsAboutOnePodAreMadeInTheirOrderWhateverOthersDo(t *testing.T) {
	c := newCalls()
	var mu sync.Mutex
	var got []int
	release := make(chan struct{})
	c.start(t.Context(), call{"a", func() { <-release }})
	for i := range 10 {
		c.start(t.Context(), call{"a", func() {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, i)
		}})
	}
	other := make(chan struct{})
	c.start(t.Context(), call{"b", func() { close(other) }})
	<-other // is not held up
	close(release)
	c.wait()
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, got); diff != "" {
		t.Errorf("order of the calls (-want +got):\n%s", diff)
	}
	if len(c.last) != 0 {
		t.Errorf("%d Pods are remembered after their calls", len(c.last))
	}
}

func TestNothingIsStartedOnceTheSchedulerEnds(t *testing.T) {
	c := newCalls()
	release := make(chan struct{})
	for range maxCalls {
		c.start(t.Context(), call{"a", func() { <-release }})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.start(ctx, call{"b", func() { t.Error("a call was made after the end") }})
	close(release)
	c.wait()
}

package kubelet_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The time from a Pod's creation to the event that says it is ready, as a client sees both. The control plane runs in this process, on the same processors.

func BenchmarkOnePodReady(b *testing.B) {
	h := start(b)
	w := h.follow()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprint("one-", i)
		began := time.Now()
		h.create(name, `{containers: [{name: c, command: [sh, -c, 'trap exit TERM; while :; do sleep 0.1; done']}]}`)
		took = append(took, w.await(b, name).Sub(began))
		b.StopTimer()
		h.delete(name)
		h.waitGone(name)
		b.StartTimer()
	}
	report(b, took)
}

func BenchmarkFiftyPodsReadyAtOnce(b *testing.B) {
	h := start(b)
	w := h.follow()
	const pods = 50
	for round := 0; b.Loop(); round++ {
		began := time.Now()
		for i := range pods {
			go h.create(fmt.Sprintf("many-%d-%d", round, i), `{containers: [{name: c, command: [sh, -c, 'trap exit TERM; while :; do sleep 0.1; done']}]}`)
		}
		var took []time.Duration
		for i := range pods {
			took = append(took, w.await(b, fmt.Sprintf("many-%d-%d", round, i)).Sub(began))
		}
		report(b, took)
		b.StopTimer()
		for i := range pods {
			h.delete(fmt.Sprintf("many-%d-%d", round, i))
		}
		for i := range pods {
			h.waitGone(fmt.Sprintf("many-%d-%d", round, i))
		}
		b.StartTimer()
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[0]), "min-ms")
	b.ReportMetric(ms(took[len(took)/2]), "median-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
}

// follower notes when Pods became ready.
type follower struct {
	ready chan string
	at    map[string]time.Time
	times chan time.Time
}

func (h *host) follow() *follower {
	h.t.Helper()
	w, err := h.client.CoreV1().Pods("default").Watch(h.ctx(), metav1.ListOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	f := &follower{ready: make(chan string, 1000), times: make(chan time.Time, 1000), at: map[string]time.Time{}}
	go func() {
		seen := map[string]bool{}
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*v1.Pod); ok && ready(p) && !seen[p.Name] {
				seen[p.Name] = true
				f.ready <- p.Name
				f.times <- time.Now()
			}
		}
	}()
	return f
}

func (f *follower) await(b *testing.B, name string) time.Time {
	b.Helper()
	for {
		if at, ok := f.at[name]; ok {
			return at
		}
		select {
		case n := <-f.ready:
			f.at[n] = <-f.times
		case <-time.After(patience):
			b.Fatalf("Pod %s is not ready after %v", name, patience)
		}
	}
}

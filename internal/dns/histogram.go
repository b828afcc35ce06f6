package dns

import (
	"sync/atomic"
	"time"
)

// buckets are CoreDNS' for durations: from 0.25 ms, each twice the last.
var buckets = func() (out [16]float64) {
	for i := range out {
		out[i] = 0.00025 * float64(uint(1)<<i)
	}
	return out
}()

// histogram counts durations, without a lock and without asking for memory: it is used for every question.
type histogram struct {
	counts [len(buckets) + 1]atomic.Uint64
	nanos  atomic.Uint64
}

func (h *histogram) observe(d time.Duration) {
	i, s := 0, d.Seconds()
	for i < len(buckets) && s > buckets[i] {
		i++
	}
	h.counts[i].Add(1)
	h.nanos.Add(uint64(d))
}

// snapshot returns what a histogram of Prometheus is made of.
func (h *histogram) snapshot() (count uint64, sum float64, cumulative map[float64]uint64) {
	cumulative = make(map[float64]uint64, len(buckets))
	for i := range buckets {
		count += h.counts[i].Load()
		cumulative[buckets[i]] = count
	}
	return count + h.counts[len(buckets)].Load(), float64(h.nanos.Load()) / 1e9, cumulative
}

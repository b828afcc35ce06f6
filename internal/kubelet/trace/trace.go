package trace

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// remembered is how many starts are kept, and parts how many parts of one: a Pod that never gets ready begins the same ones over and over.
const (
	remembered = 128
	parts      = 64
)

// Starts are the last Pods that this node began to start.
type Starts struct {
	mu      sync.Mutex
	last    []*Start             // the oldest first
	seconds prometheus.Histogram // of all that became ready
}

// New makes Starts.
func New() *Starts {
	return &Starts{seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "kubelet_pod_start_duration_seconds", Help: "From when the node was told of a Pod until it was ready, in seconds", Buckets: prometheus.ExponentialBuckets(0.05, 2, 12),
	})}
}

// Collector tells how long starts took.
func (s *Starts) Collector() prometheus.Collector { return s.seconds }

// Start is one Pod's, from when the node was told of it.
type Start struct {
	of              *Starts
	namespace, name string
	began           time.Time

	mu    sync.Mutex
	ready time.Duration // 0 until then
	parts []Part
}

// Part is something that was done for a Pod; parts may be done at the same time, and within each other.
type Part struct {
	Name string
	At   time.Duration // since the node was told of the Pod
	Took time.Duration
}

// Begin notes that the node was told of a Pod.
func (s *Starts) Begin(namespace, name string) *Start {
	st := &Start{of: s, namespace: namespace, name: name, began: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.last) == remembered {
		s.last = slices.Delete(s.last, 0, 1)
	}
	s.last = append(s.last, st)
	return st
}

// Ready notes that the Pod is ready; calls after the first do nothing.
func (s *Start) Ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready == 0 {
		s.ready = time.Since(s.began)
		s.of.seconds.Observe(s.ready.Seconds())
	}
}

type key struct{}

// With gives a context by which parts of s are found.
func With(ctx context.Context, s *Start) context.Context { return context.WithValue(ctx, key{}, s) }

// Begin notes that a part begins; what it gives is called at its end.
func Begin(ctx context.Context, name string) (end func()) {
	s, ok := ctx.Value(key{}).(*Start)
	if !ok {
		return func() {}
	}
	at := time.Since(s.began)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ready == 0 && len(s.parts) < parts {
			s.parts = append(s.parts, Part{name, at, time.Since(s.began) - at})
		}
	}
}

// Report is a Start as it is told to others.
type Report struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Began     time.Time `json:"began"`           // when the node was told of the Pod
	Ready     float64   `json:"ready,omitempty"` // ms after that; 0: not yet
	Parts     []struct {
		Name string  `json:"name"`
		At   float64 `json:"at"`   // ms after Began
		Took float64 `json:"took"` // ms
	} `json:"parts"`
}

// MarshalJSON writes a list of Reports, the oldest first.
func (s *Starts) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	last := slices.Clone(s.last)
	s.mu.Unlock()
	out := make([]Report, len(last))
	for i, st := range last {
		out[i] = st.report()
	}
	return json.Marshal(out)
}

func (s *Start) report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	r := Report{Namespace: s.namespace, Name: s.name, Began: s.began, Ready: ms(s.ready)}
	r.Parts = slices.Grow(r.Parts, len(s.parts))[:len(s.parts)]
	for i, p := range s.parts {
		r.Parts[i].Name, r.Parts[i].At, r.Parts[i].Took = p.Name, ms(p.At), ms(p.Took)
	}
	return r
}

package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
)

// Results counts what probes found, under the names of the kubelet's /metrics/probes.
type Results struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

var _ prometheus.Collector = (*Results)(nil)

// NewResults makes Results.
func NewResults() *Results {
	labels := []string{"container", "namespace", "pod", "pod_uid", "probe_type"}
	return &Results{
		total:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "prober_probe_total", Help: "Checks by their result"}, append(labels[:len(labels):len(labels)], "result")),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "prober_probe_duration_seconds", Help: "How long checks took, in seconds", Buckets: prometheus.DefBuckets}, []string{"container", "namespace", "pod", "probe_type"}),
	}
}

// Count takes in one check.
func (r *Results) Count(p *v1.Pod, container string, kind Kind, ok bool, took time.Duration) {
	result := "failed"
	if ok {
		result = "successful"
	}
	r.total.WithLabelValues(container, p.Namespace, p.Name, string(p.UID), string(kind), result).Inc()
	r.seconds.WithLabelValues(container, p.Namespace, p.Name, string(kind)).Observe(took.Seconds())
}

// Forget drops the series of a Pod that is gone; the next one of its name begins anew.
func (r *Results) Forget(p *v1.Pod) {
	r.total.DeletePartialMatch(prometheus.Labels{"pod_uid": string(p.UID)})
	r.seconds.DeletePartialMatch(prometheus.Labels{"namespace": p.Namespace, "pod": p.Name})
}

// Describe implements prometheus.Collector.
func (r *Results) Describe(out chan<- *prometheus.Desc) {
	r.total.Describe(out)
	r.seconds.Describe(out)
}

// Collect implements prometheus.Collector.
func (r *Results) Collect(out chan<- prometheus.Metric) {
	r.total.Collect(out)
	r.seconds.Collect(out)
}

package server

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/version" // kubernetes_build_info, by which dashboards tell versions
)

// memberMetrics has /metrics tell what the etcd member in this process tells of itself: it registers with Prometheus' own registry, the API server with another.
var memberMetrics = sync.OnceFunc(func() { legacyregistry.RawMustRegister(member{}) })

// member passes on the metrics of etcd: etcd_server_…, etcd_disk_…, etcd_mvcc_….
type member struct{}

// Describe says nothing: which metrics there are is known when they are collected.
func (member) Describe(chan<- *prometheus.Desc) {}

func (member) Collect(out chan<- prometheus.Metric) {
	// What could be gathered comes with the error of what could not, and is worth having.
	families, _ := prometheus.DefaultGatherer.Gather()
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "etcd_") {
			continue
		}
		desc := prometheus.NewDesc(f.GetName(), f.GetHelp(), nil, nil)
		for _, m := range f.GetMetric() {
			out <- passedOn{desc, m}
		}
	}
}

// passedOn is a metric that another registry has gathered.
type passedOn struct {
	desc   *prometheus.Desc
	metric *dto.Metric
}

func (m passedOn) Desc() *prometheus.Desc { return m.desc }

func (m passedOn) Write(out *dto.Metric) error {
	out.Label, out.Counter, out.Gauge, out.Histogram, out.Summary, out.Untyped =
		m.metric.Label, m.metric.Counter, m.metric.Gauge, m.metric.Histogram, m.metric.Summary, m.metric.Untyped
	return nil
}

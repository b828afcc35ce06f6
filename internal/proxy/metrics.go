package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics has Kubernetes' own proxy's name where the meaning is the same.
type metrics struct {
	seconds *prometheus.HistogramVec
}

func newMetrics() metrics {
	return metrics{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kubeproxy_sync_proxy_rules_duration_seconds", Help: "How long it took to write what changed of the rules to the kernel, in seconds", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
	}, []string{"ip_family"})}
}

var (
	rulesDesc = prometheus.NewDesc("gitopsd_proxy_written_rules_total", "Rules for Services that were sent to the kernel", []string{"ip_family"}, nil)
	bytesDesc = prometheus.NewDesc("gitopsd_proxy_written_bytes_total", "Bytes of what was given to iptables-restore for Services", []string{"ip_family"}, nil)
)

// collector tells a Proxy's metrics.
type collector struct{ p *Proxy }

var _ prometheus.Collector = collector{}

// Collector tells metrics.
func (p *Proxy) Collector() prometheus.Collector { return collector{p} }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	c.p.metrics.seconds.Describe(out)
	out <- rulesDesc
	out <- bytesDesc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	c.p.metrics.seconds.Collect(out)
	for _, f := range c.p.families {
		written := f.writer.Written()
		out <- prometheus.MustNewConstMetric(rulesDesc, prometheus.CounterValue, float64(written.Rules), string(f.name))
		out <- prometheus.MustNewConstMetric(bytesDesc, prometheus.CounterValue, float64(written.Bytes), string(f.name))
	}
}

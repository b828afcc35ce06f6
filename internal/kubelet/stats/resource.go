package stats

import (
	"github.com/prometheus/client_golang/prometheus"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Resource collects the figures that the metrics server asks for: /metrics/resource (KEP-727).
type Resource struct{ Source *Source }

var _ prometheus.Collector = Resource{}

var (
	containerLabels = []string{"container", "namespace", "pod"}
	podLabels       = []string{"namespace", "pod"}

	nodeCPU         = prometheus.NewDesc("node_cpu_usage_seconds_total", "Processor time that the node used, in core-seconds", nil, nil)
	nodeMemory      = prometheus.NewDesc("node_memory_working_set_bytes", "Memory that the node uses and cannot give up at once, in bytes", nil, nil)
	containerCPU    = prometheus.NewDesc("container_cpu_usage_seconds_total", "Processor time that the container used, in core-seconds", containerLabels, nil)
	containerMemory = prometheus.NewDesc("container_memory_working_set_bytes", "Memory that the container uses and cannot give up at once, in bytes", containerLabels, nil)
	containerStart  = prometheus.NewDesc("container_start_time_seconds", "When the container started, in seconds since 1970", containerLabels, nil)
	podCPU          = prometheus.NewDesc("pod_cpu_usage_seconds_total", "Processor time that the Pod used, in core-seconds", podLabels, nil)
	podMemory       = prometheus.NewDesc("pod_memory_working_set_bytes", "Memory that the Pod uses and cannot give up at once, in bytes", podLabels, nil)
	scrapeError     = prometheus.NewDesc("resource_scrape_error", "1 if the node's figures could not be read", nil, nil)
)

// Describe leaves out what depends on the Pods: the collector is unchecked.
func (Resource) Describe(chan<- *prometheus.Desc) {}

// Collect reads the figures now. Each has the time at which it was read, as the metrics server works out rates by it.
func (r Resource) Collect(out chan<- prometheus.Metric) {
	s := r.Source.Summary()
	cpu := func(d *prometheus.Desc, c *statsv1.CPUStats, labels ...string) {
		out <- prometheus.NewMetricWithTimestamp(c.Time.Time, prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(*c.UsageCoreNanoSeconds)/1e9, labels...))
	}
	memory := func(d *prometheus.Desc, m *statsv1.MemoryStats, labels ...string) {
		out <- prometheus.NewMetricWithTimestamp(m.Time.Time, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(*m.WorkingSetBytes), labels...))
	}
	cpu(nodeCPU, s.Node.CPU)
	memory(nodeMemory, s.Node.Memory)
	for i := range s.Pods {
		p := &s.Pods[i]
		cpu(podCPU, p.CPU, p.PodRef.Namespace, p.PodRef.Name)
		memory(podMemory, p.Memory, p.PodRef.Namespace, p.PodRef.Name)
		for j := range p.Containers {
			c := &p.Containers[j]
			labels := []string{c.Name, p.PodRef.Namespace, p.PodRef.Name}
			cpu(containerCPU, c.CPU, labels...)
			memory(containerMemory, c.Memory, labels...)
			out <- prometheus.MustNewConstMetric(containerStart, prometheus.GaugeValue, float64(c.StartTime.Unix()), labels...)
		}
	}
	out <- prometheus.MustNewConstMetric(scrapeError, prometheus.GaugeValue, unread(*s.Node.CPU.UsageCoreNanoSeconds, *s.Node.Memory.WorkingSetBytes))
}

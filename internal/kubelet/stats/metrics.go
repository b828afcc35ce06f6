package stats

import (
	"fmt"
	"io"

	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// WriteResource writes the figures that the metrics server asks for, in Prometheus' text format (KEP-727).
func WriteResource(w io.Writer, s *statsv1.Summary) {
	head := func(name, kind, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	seconds := func(c *statsv1.CPUStats) float64 { return float64(*c.UsageCoreNanoSeconds) / 1e9 }
	head("node_cpu_usage_seconds_total", "counter", "Processor time used by the node")
	fmt.Fprintf(w, "node_cpu_usage_seconds_total %g %d\n", seconds(s.Node.CPU), s.Node.CPU.Time.UnixMilli())
	head("node_memory_working_set_bytes", "gauge", "Memory in use by the node")
	fmt.Fprintf(w, "node_memory_working_set_bytes %d %d\n", *s.Node.Memory.WorkingSetBytes, s.Node.Memory.Time.UnixMilli())
	head("container_cpu_usage_seconds_total", "counter", "Processor time used by the container")
	each(s, func(p *statsv1.PodStats, c *statsv1.ContainerStats) {
		fmt.Fprintf(w, "container_cpu_usage_seconds_total{container=%q,namespace=%q,pod=%q} %g %d\n", c.Name, p.PodRef.Namespace, p.PodRef.Name, seconds(c.CPU), c.CPU.Time.UnixMilli())
	})
	head("container_memory_working_set_bytes", "gauge", "Memory in use by the container")
	each(s, func(p *statsv1.PodStats, c *statsv1.ContainerStats) {
		fmt.Fprintf(w, "container_memory_working_set_bytes{container=%q,namespace=%q,pod=%q} %d %d\n", c.Name, p.PodRef.Namespace, p.PodRef.Name, *c.Memory.WorkingSetBytes, c.Memory.Time.UnixMilli())
	})
	head("container_start_time_seconds", "gauge", "When the container started")
	each(s, func(p *statsv1.PodStats, c *statsv1.ContainerStats) {
		fmt.Fprintf(w, "container_start_time_seconds{container=%q,namespace=%q,pod=%q} %d\n", c.Name, p.PodRef.Namespace, p.PodRef.Name, c.StartTime.Unix())
	})
	head("pod_cpu_usage_seconds_total", "counter", "Processor time used by the Pod")
	for i := range s.Pods {
		p := &s.Pods[i]
		fmt.Fprintf(w, "pod_cpu_usage_seconds_total{namespace=%q,pod=%q} %g %d\n", p.PodRef.Namespace, p.PodRef.Name, seconds(p.CPU), p.CPU.Time.UnixMilli())
	}
	head("pod_memory_working_set_bytes", "gauge", "Memory in use by the Pod")
	for i := range s.Pods {
		p := &s.Pods[i]
		fmt.Fprintf(w, "pod_memory_working_set_bytes{namespace=%q,pod=%q} %d %d\n", p.PodRef.Namespace, p.PodRef.Name, *p.Memory.WorkingSetBytes, p.Memory.Time.UnixMilli())
	}
	head("resource_scrape_error", "gauge", "1 if the figures could not be read")
	fmt.Fprintln(w, "resource_scrape_error 0")
}

func each(s *statsv1.Summary, f func(*statsv1.PodStats, *statsv1.ContainerStats)) {
	for i := range s.Pods {
		for j := range s.Pods[i].Containers {
			f(&s.Pods[i], &s.Pods[i].Containers[j])
		}
	}
}

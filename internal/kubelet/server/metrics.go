package server

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/version"

	"github.com/gitopsd/gitopsd/internal/kubelet/stats"
)

// metrics are what the node tells of itself, on the kubelet's four paths.
type metrics struct {
	own, cadvisor, resource, probes http.Handler

	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// newMetrics makes the registries; nothing is measured before somebody asks.
func newMetrics(s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_http_requests_total", Help: "Requests that this node's server answered"},
			[]string{"long_running", "method", "path", "server_type"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_http_requests_duration_seconds", Help: "How long answering took, in seconds", Buckets: prometheus.DefBuckets},
			[]string{"long_running", "method", "path", "server_type"}),
	}
	of := func(list ...prometheus.Collector) http.Handler {
		r := prometheus.NewRegistry()
		r.MustRegister(list...)
		return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError})
	}
	own := []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.requests, m.seconds, podCounts{s}, stats.Volumes{Source: s.Stats}, node(s.Stats.Node), build()}
	m.own = of(append(own, s.Facts.Metrics...)...)
	m.cadvisor, m.resource, m.probes = of(stats.Cadvisor{Source: s.Stats}), of(stats.Resource{Source: s.Stats}), of(s.Node.Probes)
	return m
}

// counted counts the requests of a path; long says that they last for as long as their client likes.
func (m *metrics) counted(path string, long bool, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		labels := []string{strconv.FormatBool(long), r.Method, path, "readwrite"}
		m.requests.WithLabelValues(labels...).Inc()
		began := time.Now()
		defer func() { m.seconds.WithLabelValues(labels...).Observe(time.Since(began).Seconds()) }()
		h(w, r)
	}
}

func node(name string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubelet_node_name", Help: "The node's name; the value is always 1", ConstLabels: prometheus.Labels{"node": name}})
	g.Set(1)
	return g
}

func build() prometheus.Collector {
	i := version.Get()
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubernetes_build_info", Help: "What this program was built from; the value is always 1", ConstLabels: prometheus.Labels{
		"build_date": i.BuildDate, "compiler": i.Compiler, "git_commit": i.GitCommit, "git_tree_state": i.GitTreeState, "git_version": i.GitVersion,
		"go_version": i.GoVersion, "major": i.Major, "minor": i.Minor, "platform": i.Platform,
	}})
	g.Set(1)
	return g
}

// podCounts counts Pods and containers when it is asked to.
type podCounts struct{ s *Server }

var _ prometheus.Collector = podCounts{}

var (
	runningPods       = prometheus.NewDesc("kubelet_running_pods", "Pods that run on this node", nil, nil)
	desiredPods       = prometheus.NewDesc("kubelet_desired_pods", "Pods that are bound to this node", []string{"static"}, nil)
	runningContainers = prometheus.NewDesc("kubelet_running_containers", "Containers of this node by state", []string{"container_state"}, nil)
)

func (podCounts) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{runningPods, desiredPods, runningContainers} {
		out <- d
	}
}

func (p podCounts) Collect(out chan<- prometheus.Metric) {
	pods, live := p.s.Pods.List(), 0
	states := map[string]int{"created": 0, "running": 0, "exited": 0}
	for _, pod := range pods {
		if pod.Status.Phase == v1.PodRunning {
			live++
		}
		for _, list := range [][]v1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
			for i := range list {
				switch c := &list[i]; {
				case c.State.Running != nil:
					states["running"]++
				case c.State.Terminated != nil:
					states["exited"]++
				case c.ContainerID != "":
					states["created"]++
				}
			}
		}
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(runningPods, live)
	gauge(desiredPods, len(pods), "")
	for state, n := range states {
		gauge(runningContainers, n, state)
	}
}

package runtime

import (
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// operations counts what containerd is asked to do, under the names of the kubelet's metrics.
type operations struct {
	total, errors *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
}

func newOperations() operations {
	labels := []string{"operation_type"}
	return operations{
		total:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_total", Help: "Requests to containerd, by what they ask for"}, labels),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_errors_total", Help: "Requests that containerd did not carry out"}, labels),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubelet_runtime_operations_duration_seconds", Help: "How long containerd took, in seconds", Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 10),
		}, labels),
	}
}

// Collectors tell of the requests to containerd.
func (r *Runtime) Collectors() []prometheus.Collector {
	return []prometheus.Collector{r.operations.total, r.operations.errors, r.operations.seconds}
}

// count takes in one request. That something is not there, or is there already, is an answer and no error.
func (o operations) count(method string, took time.Duration, err error) {
	kind := operation(method)
	o.total.WithLabelValues(kind).Inc()
	o.seconds.WithLabelValues(kind).Observe(took.Seconds())
	if c := status.Code(err); c != codes.OK && c != codes.NotFound && c != codes.AlreadyExists {
		o.errors.WithLabelValues(kind).Inc()
	}
}

// operation is a method's name for the label: "/containerd.services.tasks.v1.Tasks/Create" is tasks_create.
func operation(method string) string {
	service := path.Dir(method)
	return strings.ToLower(service[strings.LastIndexByte(service, '.')+1:] + "_" + path.Base(method))
}

package runtime

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestWhatContainerdRefusesIsCountedAndThatSomethingIsGoneIsNoError(t *testing.T) {
	o := newOperations()
	const method = "/containerd.services.tasks.v1.Tasks/Create"
	o.count(method, time.Millisecond, nil)
	o.count(method, time.Millisecond, status.Error(codes.NotFound, ""))
	o.count(method, time.Millisecond, status.Error(codes.Unavailable, ""))
	value := func(v *prometheus.CounterVec) float64 {
		var m dto.Metric
		if err := v.WithLabelValues("tasks_create").Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetCounter().GetValue()
	}
	if total, errors := value(o.total), value(o.errors); total != 3 || errors != 1 {
		t.Errorf("of %v requests %v were errors, want 1 of 3", total, errors)
	}
}

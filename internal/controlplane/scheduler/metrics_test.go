package scheduler_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

// values are the metrics of scheduling: gauges and counters, and of histograms the number of observations.
func values(t testing.TB) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "scheduler_") {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out[fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(labels, ","))] =
				m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestMetricsTellWhatWaitsAndWhatWasDone(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	before := values(t) // other tests of this process count too
	e.Start(t, s.Run)
	e.Node(t, "small", "1", "1Gi")
	create(t, e, "fits", "500m")
	create(t, e, "large", "2")
	create(t, e, "gated", "100m", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}} })

	expect := func(when string, want map[string]float64) {
		t.Helper()
		diff := func() string {
			now, lines := values(t), []string{}
			for _, name := range slices.Sorted(maps.Keys(want)) {
				got := now[name]
				if !strings.HasPrefix(name, "scheduler_pending_pods") {
					got -= before[name]
				}
				if got != want[name] {
					lines = append(lines, fmt.Sprintf("%s: %v, want %v", name, got, want[name]))
				}
			}
			return strings.Join(lines, "\n")
		}
		controllerstest.Eventually(t, "the metrics "+when, func() bool {
			if text := diff(); text != "" {
				t.Log(text)
				return false
			}
			return true
		})
	}
	const of = "profile=default-scheduler,result="
	expect("while one waits", map[string]float64{
		"scheduler_pending_pods{queue=unschedulable}":                        1,
		"scheduler_pending_pods{queue=gated}":                                1,
		"scheduler_pending_pods{queue=active}":                               0,
		"scheduler_schedule_attempts_total{" + of + "scheduled}":             1,
		"scheduler_schedule_attempts_total{" + of + "error}":                 0,
		"scheduler_pod_scheduling_sli_duration_seconds{attempts=1}":          1,
		"scheduler_queue_incoming_pods_total{event=PodAdd,queue=active}":     2,
		"scheduler_preemption_attempts_total{}":                              0,
		"scheduler_scheduling_attempt_duration_seconds{" + of + "error}":     0,
		"scheduler_scheduling_attempt_duration_seconds{" + of + "scheduled}": 1,
	})

	e.Node(t, "big", "4", "4Gi")
	if _, err := e.Client.CoreV1().Pods("default").Patch(e.Ctx, "gated", types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec/schedulingGates"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("when all are bound", map[string]float64{
		"scheduler_pending_pods{queue=unschedulable}":            0,
		"scheduler_pending_pods{queue=gated}":                    0,
		"scheduler_schedule_attempts_total{" + of + "scheduled}": 3,
		"scheduler_pod_scheduling_attempts{}":                    3,
	})
}

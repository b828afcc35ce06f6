package scheduler

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/queue"
)

// What /metrics tells of scheduling, by the names, labels and buckets of kube-scheduler: dashboards and alerts that people have go on working.
var (
	pendingPods = metrics.NewDesc("scheduler_pending_pods", "Pods that wait, by where: active, backoff, unschedulable or gated.",
		[]string{"queue"}, nil, metrics.STABLE, "")

	scheduleAttempts = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "scheduler_schedule_attempts_total", Help: "Attempts to schedule Pods, by result: scheduled, unschedulable or error.", StabilityLevel: metrics.STABLE,
	}, []string{"result", "profile"})
	attemptTime = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Name: "scheduler_scheduling_attempt_duration_seconds", Help: "Time of an attempt: the decision and, where there is a node, the binding.",
		Buckets: metrics.ExponentialBuckets(0.001, 2, 15), StabilityLevel: metrics.STABLE,
	}, []string{"result", "profile"})
	decisionTime = metrics.NewHistogram(&metrics.HistogramOpts{
		Name: "scheduler_scheduling_algorithm_duration_seconds", Help: "Time of the decision about a Pod or a gang alone.",
		Buckets: metrics.ExponentialBuckets(0.001, 2, 15), StabilityLevel: metrics.ALPHA,
	})
	podTime = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Name: "scheduler_pod_scheduling_sli_duration_seconds", Help: "Time from when a Pod could be scheduled, its gates gone, until it is bound, by the number of attempts.",
		Buckets: metrics.ExponentialBuckets(0.01, 2, 20), StabilityLevel: metrics.BETA,
	}, []string{"attempts"})
	podAttempts = metrics.NewHistogram(&metrics.HistogramOpts{
		Name: "scheduler_pod_scheduling_attempts", Help: "Attempts that bound Pods needed.",
		Buckets: metrics.ExponentialBuckets(1, 2, 5), StabilityLevel: metrics.STABLE,
	})
	preemptions = metrics.NewCounter(&metrics.CounterOpts{
		Name: "scheduler_preemption_attempts_total", Help: "How often room was made for a Pod.", StabilityLevel: metrics.STABLE,
	})
	victims = metrics.NewHistogram(&metrics.HistogramOpts{
		Name: "scheduler_preemption_victims", Help: "Pods that were chosen to make room, each time.",
		Buckets: metrics.ExponentialBuckets(1, 2, 7), StabilityLevel: metrics.STABLE,
	})
	incoming = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "scheduler_queue_incoming_pods_total", Help: "Pods put into a queue (active, backoff, unschedulable), by what put them there.", StabilityLevel: metrics.STABLE,
	}, []string{"queue", "event"})

	measuredNow  atomic.Pointer[Scheduler]
	registerOnce sync.Once
)

// Results of attempts.
const (
	scheduled     = "scheduled"
	unschedulable = "unschedulable"
	failed        = "error"
)

// waiting counts the waiting Pods when somebody asks, so that no count is ever out of step.
type waiting struct{ metrics.BaseStableCollector }

func (*waiting) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- pendingPods }

func (*waiting) CollectWithStability(ch chan<- metrics.Metric) {
	s := measuredNow.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	n, gated := s.queue.Count(), len(s.gated)
	s.mu.Unlock()
	for name, v := range map[string]int{"active": n.Active, "backoff": n.Backoff, "unschedulable": n.Parked, "gated": gated} {
		ch <- metrics.NewLazyConstMetric(pendingPods, metrics.GaugeValue, float64(v), name)
	}
}

// measured makes s the scheduler that /metrics speaks of, until the returned function is called. There is one in a process.
func (s *Scheduler) measured() (end func()) {
	registerOnce.Do(func() {
		legacyregistry.MustRegister(scheduleAttempts, attemptTime, decisionTime, podTime, podAttempts, preemptions, victims, incoming)
		legacyregistry.CustomMustRegister(&waiting{})
	})
	measuredNow.Store(s)
	return func() { measuredNow.CompareAndSwap(s, nil) }
}

// entered counts a Pod that came into a queue.
func entered(queue, event string) { incoming.WithLabelValues(queue, event).Inc() }

// attempted counts an attempt that is over. Calls are under way while what the entry holds is replaced: they bring the profile's name themselves.
func attempted(e *queue.Entry, profile, result string) {
	scheduleAttempts.WithLabelValues(result, profile).Inc()
	attemptTime.WithLabelValues(result, profile).Observe(time.Since(e.Popped).Seconds())
}

// bound counts a Pod that has its node.
func bound(e *queue.Entry, profile string) {
	attempted(e, profile, scheduled)
	n := e.Attempts + 1
	podAttempts.Observe(float64(n))
	label := "15+" // as kube-scheduler's: each number would be a series of its own
	if n < 15 {
		label = strconv.Itoa(n)
	}
	podTime.WithLabelValues(label).Observe(time.Since(e.Since).Seconds())
}

// turnedAway counts a Pod for which there is no node, and the room that is made for it.
func turnedAway(e *queue.Entry, d core.Decision) {
	attempted(e, e.Pod.Object.Spec.SchedulerName, unschedulable)
	if d.Preempts != nil {
		preemptions.Inc()
		victims.Observe(float64(len(d.Preempts.Victims)))
	}
}

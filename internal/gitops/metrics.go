package gitops

import (
	"sync"
	"sync/atomic"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// What /metrics tells of Applications. What an Application is now is read off its status when somebody asks, so that it is never out of step with it.
var (
	appInfo = metrics.NewDesc("gitopsd_application_info", "An Application as it is now; always 1.",
		[]string{"namespace", "name", "repo", "revision", "sync", "health", "suspended"}, nil, metrics.ALPHA, "")
	appObjects = metrics.NewDesc("gitopsd_application_objects", "Objects that an Application has applied.",
		[]string{"namespace", "name"}, nil, metrics.ALPHA, "")
	appDrifted = metrics.NewDesc("gitopsd_application_drifted_fields", "Fields and objects whose live value is not Git's.",
		[]string{"namespace", "name"}, nil, metrics.ALPHA, "")
	appApplied = metrics.NewDesc("gitopsd_application_applied_timestamp_seconds", "When an Application's revision was applied, in seconds since 1970.",
		[]string{"namespace", "name"}, nil, metrics.ALPHA, "")

	syncs = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "gitopsd_syncs_total", Help: "Commits by what became of them: Applied, Refused, Failed or RolledBack.", StabilityLevel: metrics.ALPHA,
	}, []string{"namespace", "name", "result"})
	revertCount = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "gitopsd_reverts_total", Help: "Fields and objects that were set back to Git's value.", StabilityLevel: metrics.ALPHA,
	}, []string{"namespace", "name"})
	looks = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "gitopsd_source_looks_total", Help: "Looks at repositories by what set them off and whether they succeeded.", StabilityLevel: metrics.ALPHA,
	}, []string{"trigger", "result"})
	syncTime = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Name: "gitopsd_sync_duration_seconds", Help: "Time from the beginning of a pass to its commit applied, by what set it off.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}, StabilityLevel: metrics.ALPHA,
	}, []string{"trigger"})

	running      atomic.Pointer[Engine]
	registerOnce sync.Once
)

// applications collects what the running Engine knows of Applications.
type applications struct{ metrics.BaseStableCollector }

func (*applications) DescribeWithStability(ch chan<- *metrics.Desc) {
	for _, d := range []*metrics.Desc{appInfo, appObjects, appDrifted, appApplied} {
		ch <- d
	}
}

func (*applications) CollectWithStability(ch chan<- metrics.Metric) {
	e := running.Load()
	if e == nil {
		return
	}
	for _, obj := range e.informer.GetIndexer().List() {
		app, ok := obj.(*v1alpha1.Application)
		if !ok {
			continue
		}
		s := &app.Status
		suspended := "false"
		if app.Spec.Suspend {
			suspended = "true"
		}
		gauge := func(d *metrics.Desc, v float64, labels ...string) {
			ch <- metrics.NewLazyConstMetric(d, metrics.GaugeValue, v, append([]string{app.Namespace, app.Name}, labels...)...)
		}
		gauge(appInfo, 1, shapeOf(app.Spec).url, s.AppliedRevision, s.Sync, s.Health, suspended)
		gauge(appObjects, float64(len(s.Inventory)))
		gauge(appDrifted, float64(len(s.Drift)))
		if s.LastAppliedTime != nil {
			gauge(appApplied, float64(s.LastAppliedTime.UnixMicro())/1e6)
		}
	}
}

// measured makes the Engine the one that /metrics speaks of, until the returned function is called. There is one in a process.
func (e *Engine) measured() (end func()) {
	registerOnce.Do(func() {
		legacyregistry.MustRegister(syncs, revertCount, looks, syncTime)
		legacyregistry.CustomMustRegister(&applications{})
	})
	running.Store(e)
	return func() { running.CompareAndSwap(e, nil) }
}

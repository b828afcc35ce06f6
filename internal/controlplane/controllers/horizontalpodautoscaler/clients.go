package horizontalpodautoscaler

import (
	"context"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metrics "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/custom_metrics"
	"k8s.io/metrics/pkg/client/external_metrics"
)

// Metrics reads metrics: of resources from metrics.k8s.io, which the control plane serves itself, others from custom.metrics.k8s.io and
// external.metrics.k8s.io, which somebody's adapter serves.
type Metrics struct {
	resources metrics.PodMetricsesGetter
	custom    custom_metrics.CustomMetricsClient
	external  external_metrics.ExternalMetricsClient
	versions  custom_metrics.AvailableAPIsGetter
}

// versionsAge is after how long the served version of custom.metrics.k8s.io is looked up again: an adapter may have been replaced.
const versionsAge = 10 * time.Minute

// defaultWindow is the time that a sample without one covers, as an adapter of metrics-server's time has it.
const defaultWindow = time.Minute

// NewMetrics makes the clients.
func NewMetrics(cfg *rest.Config, kinds meta.RESTMapper, d discovery.DiscoveryInterface) (*Metrics, error) {
	resources, err := metrics.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("a client of metrics.k8s.io: %w", err)
	}
	external, err := external_metrics.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("a client of external.metrics.k8s.io: %w", err)
	}
	versions := custom_metrics.NewAvailableAPIsGetter(d)
	return &Metrics{resources: resources, custom: custom_metrics.NewForConfig(cfg, kinds, versions), external: external, versions: versions}, nil
}

func (m *Metrics) run(ctx context.Context) {
	custom_metrics.PeriodicallyInvalidate(m.versions, versionsAge, ctx.Done())
}

// read takes the reading of one metric of an autoscaler, whose target's Pods the selector chooses.
func (m *Metrics) read(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, spec *autoscalingv2.MetricSpec, pods labels.Selector) Reading {
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		return m.resource(ctx, hpa.Namespace, pods, spec.Resource.Name, "")
	case autoscalingv2.ContainerResourceMetricSourceType:
		return m.resource(ctx, hpa.Namespace, pods, spec.ContainerResource.Name, spec.ContainerResource.Container)
	case autoscalingv2.PodsMetricSourceType:
		return m.ofPods(hpa.Namespace, pods, spec.Pods.Metric)
	case autoscalingv2.ObjectMetricSourceType:
		return m.ofObject(hpa.Namespace, spec.Object)
	case autoscalingv2.ExternalMetricSourceType:
		return m.outside(hpa.Namespace, spec.External.Metric)
	}
	return Reading{}
}

func (m *Metrics) resource(ctx context.Context, namespace string, pods labels.Selector, name corev1.ResourceName, container string) Reading {
	list, err := m.resources.PodMetricses(namespace).List(ctx, metav1.ListOptions{LabelSelector: pods.String()})
	if err != nil {
		return Reading{Err: fmt.Errorf("unable to fetch metrics from resource metrics API: %w", err)}
	}
	if len(list.Items) == 0 {
		return Reading{Err: fmt.Errorf("no metrics returned from resource metrics API")}
	}
	r := Reading{Samples: map[string]Sample{}}
	for i := range list.Items {
		p := &list.Items[i]
		if v, ok := used(p, name, container); ok {
			r.Samples[p.Name] = Sample{Value: v, At: p.Timestamp.Time, Window: p.Window.Duration}
		}
	}
	return r
}

// used adds up what the containers use, or takes the one asked for. A Pod of which a part was not measured was not measured.
func used(p *metricsv1beta1.PodMetrics, name corev1.ResourceName, container string) (milli int64, ok bool) {
	for _, c := range p.Containers {
		if container != "" && c.Name != container {
			continue
		}
		q, measured := c.Usage[name]
		if !measured {
			return 0, false
		}
		milli, ok = milli+q.MilliValue(), true
	}
	return milli, ok
}

func (m *Metrics) ofPods(namespace string, pods labels.Selector, id autoscalingv2.MetricIdentifier) Reading {
	selector, err := metav1.LabelSelectorAsSelector(id.Selector)
	if err != nil {
		return Reading{Err: err}
	}
	list, err := m.custom.NamespacedMetrics(namespace).GetForObjects(schema.GroupKind{Kind: "Pod"}, pods, id.Name, selectAll(id.Selector, selector))
	if err != nil {
		return Reading{Err: fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)}
	}
	if len(list.Items) == 0 {
		return Reading{Err: fmt.Errorf("no metrics returned from custom metrics API")}
	}
	r := Reading{Samples: map[string]Sample{}}
	for _, v := range list.Items {
		s := Sample{Value: v.Value.MilliValue(), At: v.Timestamp.Time, Window: defaultWindow}
		if v.WindowSeconds != nil {
			s.Window = time.Duration(*v.WindowSeconds) * time.Second
		}
		r.Samples[v.DescribedObject.Name] = s
	}
	return r
}

// selectAll makes of no selector at all one that asks for nothing in particular.
func selectAll(given *metav1.LabelSelector, s labels.Selector) labels.Selector {
	if given == nil {
		return labels.Everything()
	}
	return s
}

func (m *Metrics) ofObject(namespace string, o *autoscalingv2.ObjectMetricSource) Reading {
	fail := func(err error) Reading {
		return Reading{Err: fmt.Errorf("unable to get metric %s on %s %s/%s: %w", o.Metric.Name, o.DescribedObject.Kind, namespace, o.DescribedObject.Name, err)}
	}
	selector, err := metav1.LabelSelectorAsSelector(o.Metric.Selector)
	if err != nil {
		return fail(err)
	}
	selector = selectAll(o.Metric.Selector, selector)
	gk := schema.FromAPIVersionAndKind(o.DescribedObject.APIVersion, o.DescribedObject.Kind).GroupKind()
	source, name := m.custom.NamespacedMetrics(namespace), o.DescribedObject.Name
	if gk.Group == "" && gk.Kind == "Namespace" {
		source, name = m.custom.RootScopedMetrics(), namespace // an autoscaler is told of no namespace but its own
	}
	v, err := source.GetForObject(gk, name, o.Metric.Name, selector)
	if err != nil {
		return fail(fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err))
	}
	return Reading{Value: v.Value.MilliValue()}
}

func (m *Metrics) outside(namespace string, id autoscalingv2.MetricIdentifier) Reading {
	fail := func(err error) Reading {
		return Reading{Err: fmt.Errorf("unable to get external metric %s/%s/%+v: %w", namespace, id.Name, id.Selector, err)}
	}
	selector, err := metav1.LabelSelectorAsSelector(id.Selector)
	if err != nil {
		return fail(err)
	}
	list, err := m.external.NamespacedMetrics(namespace).List(id.Name, selectAll(id.Selector, selector))
	if err != nil {
		return fail(fmt.Errorf("unable to fetch metrics from external metrics API: %w", err))
	}
	if len(list.Items) == 0 {
		return fail(fmt.Errorf("no metrics returned from external metrics API"))
	}
	values := make([]int64, len(list.Items))
	for i, v := range list.Items {
		values[i] = v.Value.MilliValue()
	}
	return Reading{Value: total(values)}
}

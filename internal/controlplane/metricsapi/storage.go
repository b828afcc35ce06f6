package metricsapi

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Objects reads the nodes and Pods that there are. A namespace "" is all.
type Objects interface {
	Nodes(ctx context.Context) ([]corev1.Node, error)
	PodsIn(ctx context.Context, namespace string) ([]corev1.Pod, error)
}

// New returns the storage of the group's resources by name.
func New(objects Objects, fetch Fetch) map[string]rest.Storage {
	c := &cache{fetch: fetch, nodes: map[string]figures{}}
	return map[string]rest.Storage{"nodes": &nodes{objects: objects, cache: c}, "pods": &pods{objects: objects, cache: c}}
}

type nodes struct {
	objects Objects
	cache   *cache
}

type storage interface {
	rest.Getter
	rest.Lister
	rest.Scoper
	rest.SingularNameProvider
}

var _, _ storage = (*nodes)(nil), (*pods)(nil)

func (*nodes) New() runtime.Object { return &metrics.NodeMetrics{} }

func (*nodes) NewList() runtime.Object { return &metrics.NodeMetricsList{} }

func (*nodes) Destroy() {}

func (*nodes) NamespaceScoped() bool { return false }

func (*nodes) GetSingularName() string { return "node" }

func (r *nodes) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	list, err := r.read(ctx, func(n *corev1.Node) bool { return n.Name == name })
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, apierrors.NewNotFound(metrics.Resource("nodes"), name)
	}
	return &list.Items[0], nil
}

func (r *nodes) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	matches := selector(o)
	return r.read(ctx, func(n *corev1.Node) bool { return matches(&n.ObjectMeta) })
}

func (r *nodes) read(ctx context.Context, wanted func(*corev1.Node) bool) (*metrics.NodeMetricsList, error) {
	all, err := r.objects.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	exists := map[string]bool{}
	var names []string
	for i := range all {
		exists[all[i].Name] = true
		if wanted(&all[i]) {
			names = append(names, all[i].Name)
		}
	}
	r.cache.keep(exists)
	known := r.cache.get(ctx, names)
	list := &metrics.NodeMetricsList{Items: []metrics.NodeMetrics{}}
	for i := range all {
		if f, ok := known[all[i].Name]; ok {
			if m, ok := nodeMetrics(&all[i], f); ok {
				list.Items = append(list.Items, m)
			}
		}
	}
	return list, nil
}

func (*nodes) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return table(obj, options, func(o runtime.Object) (metav1.TableRow, error) {
		m, ok := o.(*metrics.NodeMetrics)
		if !ok {
			return metav1.TableRow{}, fmt.Errorf("cannot show a %T as a node's metrics", o)
		}
		return row(m.Name, m.Usage, m.Window, o), nil
	})
}

type pods struct {
	objects Objects
	cache   *cache
}

func (*pods) New() runtime.Object { return &metrics.PodMetrics{} }

func (*pods) NewList() runtime.Object { return &metrics.PodMetricsList{} }

func (*pods) Destroy() {}

func (*pods) NamespaceScoped() bool { return true }

func (*pods) GetSingularName() string { return "pod" }

func (r *pods) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	list, err := r.read(ctx, func(p *corev1.Pod) bool { return p.Name == name })
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		full := strings.TrimPrefix(genericapirequest.NamespaceValue(ctx)+"/"+name, "/")
		return nil, apierrors.NewNotFound(metrics.Resource("pods"), full)
	}
	return &list.Items[0], nil
}

func (r *pods) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	matches := selector(o)
	return r.read(ctx, func(p *corev1.Pod) bool { return matches(&p.ObjectMeta) })
}

func (r *pods) read(ctx context.Context, wanted func(*corev1.Pod) bool) (*metrics.PodMetricsList, error) {
	all, err := r.objects.PodsIn(ctx, genericapirequest.NamespaceValue(ctx))
	if err != nil {
		return nil, err
	}
	on := map[string]bool{}
	var names []string
	var running []*corev1.Pod
	for i := range all {
		p := &all[i]
		if p.Status.Phase != corev1.PodRunning || !wanted(p) {
			continue
		}
		running = append(running, p)
		if !on[p.Spec.NodeName] {
			on[p.Spec.NodeName] = true
			names = append(names, p.Spec.NodeName)
		}
	}
	known := r.cache.get(ctx, names)
	list := &metrics.PodMetricsList{Items: []metrics.PodMetrics{}}
	for _, p := range running {
		if f, ok := known[p.Spec.NodeName]; ok {
			if m, ok := podMetrics(p, f); ok {
				list.Items = append(list.Items, m)
			}
		}
	}
	return list, nil
}

func (*pods) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return table(obj, options, func(o runtime.Object) (metav1.TableRow, error) {
		m, ok := o.(*metrics.PodMetrics)
		if !ok {
			return metav1.TableRow{}, fmt.Errorf("cannot show a %T as a Pod's metrics", o)
		}
		total := corev1.ResourceList{}
		for _, c := range m.Containers {
			for name, q := range c.Usage {
				sum := total[name]
				sum.Add(q)
				total[name] = sum
			}
		}
		return row(m.Name, total, m.Window, o), nil
	})
}

// selector tells which objects a list is to have.
func selector(o *metainternalversion.ListOptions) func(*metav1.ObjectMeta) bool {
	label, field := labels.Everything(), fields.Everything()
	if o != nil && o.LabelSelector != nil {
		label = o.LabelSelector
	}
	if o != nil && o.FieldSelector != nil {
		field = o.FieldSelector
	}
	return func(m *metav1.ObjectMeta) bool {
		return label.Matches(labels.Set(m.Labels)) && field.Matches(fields.Set{"metadata.name": m.Name, "metadata.namespace": m.Namespace})
	}
}

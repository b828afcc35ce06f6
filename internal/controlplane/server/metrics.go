package server

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	etcd3metrics "k8s.io/apiserver/pkg/storage/etcd3/metrics"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // rest_client_*: what this process asks of others
	_ "k8s.io/component-base/metrics/prometheus/workqueue"  // workqueue_*: the controllers' queues
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/gitopsd/gitopsd/internal/controlplane/metricsapi"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

// maxSummary bounds what a node may report: a thousand Pods take about 4 MiB.
const maxSummary = 16 << 20

// etcd_*: how long the storage takes and what it holds, under the names that Kubernetes' dashboards read.
func init() { etcd3metrics.Register() }

// addUsage serves metrics.k8s.io from the nodes' own figures.
func addUsage(reg *registry.Registry, nodes *registry.NodeClient) {
	reg.AddComputed(metrics.SchemeGroupVersion, metricsapi.New(usageObjects{objects{reg}}, func(ctx context.Context, node string) ([]byte, error) {
		daemon, err := nodes.Daemon(ctx, reg, node)
		if err != nil {
			return nil, err
		}
		return nodes.Get(ctx, daemon, "/stats/summary", maxSummary)
	}))
}

// usageObjects reads nodes and Pods from the watch cache: figures are seconds old in any case.
type usageObjects struct{ objects }

func (o usageObjects) Nodes(ctx context.Context) ([]corev1.Node, error) {
	obj, err := o.registry.Store(corev1.Resource("nodes")).List(genericapirequest.WithNamespace(ctx, ""), &metainternalversion.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.NodeList).Items, nil
}

func (o usageObjects) PodsIn(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	obj, err := o.registry.Store(corev1.Resource("pods")).List(genericapirequest.WithNamespace(ctx, namespace), &metainternalversion.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.PodList).Items, nil
}

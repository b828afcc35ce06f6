package horizontalpodautoscaler

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
)

// meter reads the same value from every Pod, and whatever is asked for from elsewhere.
type meter struct {
	client interface {
		pods(selector labels.Selector) []string
	}
	milli atomic.Int64
}

func (m *meter) run(ctx context.Context) { <-ctx.Done() }

func (m *meter) read(_ context.Context, _ *autoscalingv2.HorizontalPodAutoscaler, _ *autoscalingv2.MetricSpec, pods labels.Selector) Reading {
	r := Reading{Value: m.milli.Load(), Samples: map[string]Sample{}}
	for _, name := range m.client.pods(pods) {
		r.Samples[name] = Sample{Value: m.milli.Load(), At: time.Now(), Window: time.Second}
	}
	return r
}

type podNames struct {
	t *testing.T
	e *controllerstest.Env
}

func (p podNames) pods(selector labels.Selector) (names []string) {
	list, err := p.e.Client.CoreV1().Pods("default").List(p.e.Ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		p.t.Error(err)
		return nil
	}
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	return names
}

func start(t *testing.T) (*controllerstest.Env, *meter) {
	e := controllerstest.New(t)
	kinds := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(e.Discovery))
	scales, err := scale.NewForConfig(rest.CopyConfig(e.Cluster.System), kinds, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(e.Discovery))
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{client: podNames{t, e}}
	e.Start(t, newController(e.Client, e.Factory, e.Events, scales, kinds, m).Run)
	return e, m
}

func hpa(t *testing.T, e *controllerstest.Env, kind, apiVersion, name string, metrics ...autoscalingv2.MetricSpec) {
	t.Helper()
	_, err := e.Client.AutoscalingV2().HorizontalPodAutoscalers("default").Create(e.Ctx, &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: kind, APIVersion: apiVersion, Name: "web"},
			MinReplicas:    ptr.To[int32](1), MaxReplicas: 10, Metrics: metrics,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func each(metric, value string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: metric}, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse(value))},
	}}
}

func pod(t *testing.T, e *controllerstest.Env, name string) {
	t.Helper()
	_, err := e.Client.CoreV1().Pods("default").Create(e.Ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	status := []byte(`{"status":{"phase":"Running","startTime":"2026-01-01T00:00:00Z","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	if _, err := e.Client.CoreV1().Pods("default").Patch(e.Ctx, name, types.StrategicMergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

func condition(t *testing.T, e *controllerstest.Env, name string, want autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason string) {
	t.Helper()
	controllerstest.Eventually(t, fmt.Sprintf("%s says %s=%s %s", name, want, status, reason), func() bool {
		got, err := e.Client.AutoscalingV2().HorizontalPodAutoscalers("default").Get(e.Ctx, name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		for _, c := range got.Status.Conditions {
			if c.Type == want && c.Status == status && c.Reason == reason {
				return true
			}
		}
		return false
	})
}

func TestADeploymentIsSizedByWhatIsMeasured(t *testing.T) {
	e, m := start(t)
	m.milli.Store(20_000)
	web := map[string]string{"app": "web"}
	_, err := e.Client.AppsV1().Deployments("default").Create(e.Ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: web}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: web}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod(t, e, "web-a")
	pod(t, e, "web-b")
	hpa(t, e, "Deployment", "apps/v1", "web", each("requests", "10"))
	controllerstest.Eventually(t, "the Deployment is doubled", func() bool {
		d, err := e.Client.AppsV1().Deployments("default").Get(e.Ctx, "web", metav1.GetOptions{})
		return err == nil && *d.Spec.Replicas == 4
	})
	condition(t, e, "web", autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededRescale")
	condition(t, e, "web", autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound")
	got, err := e.Client.AutoscalingV2().HorizontalPodAutoscalers("default").Get(e.Ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s := got.Status; s.CurrentReplicas != 2 || s.DesiredReplicas != 4 || s.LastScaleTime == nil || *s.ObservedGeneration != got.Generation ||
		len(s.CurrentMetrics) != 1 || s.CurrentMetrics[0].Pods.Current.AverageValue.Value() != 20 {
		t.Errorf("the status is %+v", s)
	}
	// A second one of the same Pods is refused.
	hpa(t, e, "Deployment", "apps/v1", "too", each("requests", "10"))
	condition(t, e, "too", autoscalingv2.ScalingActive, corev1.ConditionFalse, "AmbiguousSelector")
}

func TestWhatIsNotThereCannotBeSized(t *testing.T) {
	e, _ := start(t)
	hpa(t, e, "Deployment", "apps/v1", "web", each("requests", "10"))
	condition(t, e, "web", autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedGetScale")
	hpa(t, e, "Ship", "example.com/v1", "ship", each("requests", "10"))
	condition(t, e, "ship", autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedGetScale")
}

func TestACustomResourceWithAScaleIsSized(t *testing.T) {
	e, m := start(t)
	m.milli.Store(30_000)
	client, err := dynamic.NewForConfig(e.Cluster.System)
	if err != nil {
		t.Fatal(err)
	}
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "fleets.example.com"},
		"spec": map[string]any{
			"group": "example.com", "scope": "Namespaced", "names": map[string]any{"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
				"subresources": map[string]any{"status": map[string]any{}, "scale": map[string]any{
					"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
				}},
			}},
		},
	}}
	if _, err := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}).Create(e.Ctx, crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fleets := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "fleets"}).Namespace("default")
	fleet := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Fleet", "metadata": map[string]any{"name": "web"}, "spec": map[string]any{"replicas": int64(1)},
	}}
	controllerstest.Eventually(t, "the kind is served", func() bool {
		_, err := fleets.Create(e.Ctx, fleet, metav1.CreateOptions{})
		return err == nil
	})
	status := []byte(`{"status":{"replicas":1,"selector":"app=web"}}`)
	if _, err := fleets.Patch(e.Ctx, "web", types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	pod(t, e, "web-a")
	hpa(t, e, "Fleet", "example.com/v1", "web", each("requests", "10"))
	controllerstest.Eventually(t, "the Fleet has three", func() bool {
		got, err := fleets.Get(e.Ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false
		}
		n, _, _ := unstructured.NestedInt64(got.Object, "spec", "replicas")
		return n == 3
	})
}

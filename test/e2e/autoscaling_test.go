package e2e

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/images"
)

// What the kernel measured of a Pod goes from its node to the metrics API, what others measured comes by their own APIs, and both become a new size of the Deployment.
func TestDeploymentsAreScaledByMetricsOfEveryType(t *testing.T) {
	ctx, s := begin(t)
	const namespace = "autoscaling"
	if _, err := s.API.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.API.CoreV1().Namespaces().Delete(afterwards(t), namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	others := startAdapter(t, ctx, namespace)
	others.backlog.Store(40)
	others.requests.Store(60)

	// A burner takes all that it may, a tenth of a processor, and has asked for a twentieth: twice of what it is to use, so one replica is too few, and two are enough.
	burner := func(name string) corev1.Container {
		return corev1.Container{
			Name: name, Image: images.Web + ":v1", Env: []corev1.EnvVar{{Name: "BURN", Value: "1h"}},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")},
				Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
			},
		}
	}
	idle := corev1.Container{Name: "idle", Image: images.Web + ":v1", Env: []corev1.EnvVar{{Name: "PORT", Value: "8081"}}}
	share := autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(80))}
	average := func(n int64) autoscalingv2.MetricTarget {
		return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewQuantity(n, resource.DecimalSI)}
	}
	cases := []struct {
		name       string
		containers []corev1.Container
		min, max   int32
		metric     autoscalingv2.MetricSpec
		want       int32
	}{
		{"resource", []corev1.Container{burner("web")}, 1, 2, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: share},
		}, 2},
		// The idle container asks for nothing, so that there is no share of the whole Pod.
		{"container-resource", []corev1.Container{burner("web"), idle}, 1, 2, autoscalingv2.MetricSpec{
			Type:              autoscalingv2.ContainerResourceMetricSourceType,
			ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: corev1.ResourceCPU, Container: "web", Target: share},
		}, 2},
		{"pods", []corev1.Container{idle}, 1, 9, autoscalingv2.MetricSpec{
			Type: autoscalingv2.PodsMetricSourceType,
			Pods: &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "backlog"}, Target: average(20)},
		}, 2},
		{"object", []corev1.Container{idle}, 1, 9, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ObjectMetricSourceType,
			Object: &autoscalingv2.ObjectMetricSource{
				DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Service", Name: "shop"},
				Metric:          autoscalingv2.MetricIdentifier{Name: "requests"}, Target: average(20),
			},
		}, 3},
		// There are no messages, so nobody is needed who reads them.
		{"external", []corev1.Container{idle}, 0, 9, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ExternalMetricSourceType,
			External: &autoscalingv2.ExternalMetricSource{
				Metric: autoscalingv2.MetricIdentifier{Name: "messages", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"queue": "orders"}}}, Target: average(40),
			},
		}, 0},
	}
	deployments, autoscalers := s.API.AppsV1().Deployments(namespace), s.API.AutoscalingV2().HorizontalPodAutoscalers(namespace)
	for _, c := range cases {
		labels := map[string]string{"app": c.name}
		_, err := deployments.Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: c.name},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: new(int64), Containers: c.containers},
				},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = autoscalers.Create(ctx, &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Name: c.name},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: c.name},
				MinReplicas:    &c.min, MaxReplicas: c.max, Metrics: []autoscalingv2.MetricSpec{c.metric},
				Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32)}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	sized := func(name string, want int32) {
		t.Helper()
		until(t, ctx, fmt.Sprintf("%s has %d replicas, by what was measured", name, want), func() (bool, any) {
			d, err := deployments.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			a, err := autoscalers.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			state := fmt.Sprintf("%d replicas ready, %d wanted, measured %+v, %+v", d.Status.ReadyReplicas, a.Status.DesiredReplicas, a.Status.CurrentMetrics, a.Status.Conditions)
			return d.Status.ReadyReplicas == want && d.Status.Replicas == want && a.Status.DesiredReplicas == want && a.Status.LastScaleTime != nil, state
		})
		t.Logf("%s: %d replicas after %s", name, want, time.Since(start).Round(time.Second))
	}
	sized("external", 0)
	others.messages.Store(80)
	for _, c := range cases[:len(cases)-1] {
		sized(c.name, c.want)
	}
	sized("external", 2)
}

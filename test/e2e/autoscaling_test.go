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

// What the kernel measured of a Pod goes from its node to the metrics API, and from there into a new size of the Deployment. The program takes all that it may, a tenth of a processor, and has asked
// for a twentieth: twice of what it is to use, so one replica is too few, and two are enough.
func TestADeploymentIsScaledByTheProcessorTimeThatItsPodsTake(t *testing.T) {
	ctx, s := begin(t)
	const namespace, name = "autoscaling", "burner"
	if _, err := s.API.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.API.CoreV1().Namespaces().Delete(afterwards(t), namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	labels := map[string]string{"app": name}
	deployments := s.API.AppsV1().Deployments(namespace)
	_, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{TerminationGracePeriodSeconds: new(int64), Containers: []corev1.Container{{
					Name: "web", Image: images.Web + ":v1", Env: []corev1.EnvVar{{Name: "BURN", Value: "1h"}},
					Resources: corev1.ResourceRequirements{
						Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")},
						Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
					},
				}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	autoscalers := s.API.AutoscalingV2().HorizontalPodAutoscalers(namespace)
	_, err = autoscalers.Create(ctx, &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name}, MaxReplicas: 2,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(80))},
			}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	until(t, ctx, "two replicas run, made for what one was measured to use", func() (bool, any) {
		d, err := deployments.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		a, err := autoscalers.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		state := fmt.Sprintf("%d replicas ready, %d wanted, measured %+v, %+v", d.Status.ReadyReplicas, a.Status.DesiredReplicas, a.Status.CurrentMetrics, a.Status.Conditions)
		return d.Status.ReadyReplicas == 2 && a.Status.DesiredReplicas == 2 && a.Status.LastScaleTime != nil, state
	})
	t.Logf("after %s", time.Since(start).Round(time.Second))
}

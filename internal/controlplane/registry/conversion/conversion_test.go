package conversion_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/conversion"
)

func TestAnEventSaysTheSameAfterBothConversions(t *testing.T) {
	for seed := range int64(200) {
		var e corev1.Event
		randfill.NewWithSeed(seed).NilChance(0.3).NumElements(1, 2).Funcs(func(*metav1.FieldsV1, randfill.Continue) {}).Fill(&e)
		e.TypeMeta = metav1.TypeMeta{}
		if back := conversion.Event(conversion.EventV1(&e)); !apiequality.Semantic.DeepEqual(&e, back) {
			t.Fatalf("seed %d (-core/v1 +through events.k8s.io/v1):\n%s", seed, cmp.Diff(&e, back))
		}
	}
}

// autoscaler has one metric of each kind, of which v1 has a field for the first only.
func autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	q := resource.MustParse("5")
	id := autoscalingv2.MetricIdentifier{Name: "requests", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
	value := autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: &q}
	average := autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: &q}
	ref := autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "web", APIVersion: "apps/v1"}
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"mine": "stays"}},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: ref, MinReplicas: ptr.To[int32](2), MaxReplicas: 9,
			Metrics: []autoscalingv2.MetricSpec{
				{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: id, Target: average}},
				{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{DescribedObject: ref, Metric: id, Target: value}},
				{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: id, Target: average}},
				{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: "memory", Container: "app", Target: average}},
				{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu", Target: autoscalingv2.MetricTarget{
					Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](60),
				}}},
			},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](30)}},
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			CurrentReplicas: 3, DesiredReplicas: 4,
			CurrentMetrics: []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{
				Name: "cpu", Current: autoscalingv2.MetricValueStatus{AverageUtilization: ptr.To[int32](70), AverageValue: &q},
			}}},
			Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Reason: "Ready"}},
		},
	}
}

func TestVersionOneCarriesWhatItHasNoFieldsFor(t *testing.T) {
	v2 := autoscaler()
	v1 := conversion.AutoscalerV1(v2)
	if v1.Spec.TargetCPUUtilizationPercentage == nil || *v1.Spec.TargetCPUUtilizationPercentage != 60 || *v1.Status.CurrentCPUUtilizationPercentage != 70 {
		t.Errorf("v1 says CPU %v, now %v; want 60 and 70", v1.Spec.TargetCPUUtilizationPercentage, v1.Status.CurrentCPUUtilizationPercentage)
	}
	back := conversion.Autoscaler(v1)
	// A client of v1 sees JSON: quantities may be written in another way that means the same.
	if !apiequality.Semantic.DeepEqual(v2, back) {
		t.Errorf("through v1 and back (-before +after):\n%s", cmp.Diff(asJSON(t, v2), asJSON(t, back)))
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAVersionOneAutoscalerThatSaysNothingMeansEightyPercent(t *testing.T) {
	v2 := conversion.Autoscaler(&autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{
		Annotations: map[string]string{"autoscaling.alpha.kubernetes.io/metrics": "{not JSON", "mine": "stays"},
	}})
	if len(v2.Spec.Metrics) != 1 || *v2.Spec.Metrics[0].Resource.Target.AverageUtilization != 80 {
		t.Errorf("metrics are %s, want CPU at 80%%", asJSON(t, v2.Spec.Metrics))
	}
	if diff := cmp.Diff(map[string]string{"mine": "stays"}, v2.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

package admission

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestAPodGetsTheNumberOfItsPriorityClassAndNoOther(t *testing.T) {
	never, lower := corev1.PreemptNever, corev1.PreemptLowerPriority
	number := func(n int32) *int32 { return &n }
	high := &schedulingv1.PriorityClass{Value: 1000, PreemptionPolicy: &never}
	high.Name = "high"
	for name, test := range map[string]struct {
		in      corev1.PodSpec
		class   *schedulingv1.PriorityClass
		want    corev1.PodSpec
		refused string
	}{
		"no class":        {want: corev1.PodSpec{Priority: number(0), PreemptionPolicy: &lower}},
		"a class":         {class: high, want: corev1.PodSpec{PriorityClassName: "high", Priority: number(1000), PreemptionPolicy: &never}},
		"the same number": {in: corev1.PodSpec{Priority: number(1000)}, class: high, want: corev1.PodSpec{PriorityClassName: "high", Priority: number(1000), PreemptionPolicy: &never}},
		"another number": {
			in: corev1.PodSpec{Priority: number(7)}, class: high,
			refused: "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name",
		},
		"another preemption": {
			in: corev1.PodSpec{PreemptionPolicy: &lower}, class: high,
			refused: "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: test.in}
			got := ""
			if err := setPriority(pod, test.class); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.refused, got); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, pod.Spec); test.refused == "" && diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARuntimeClassAddsItsOverheadAndItsNodes(t *testing.T) {
	overhead := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
	class := &nodev1.RuntimeClass{
		Overhead: &nodev1.Overhead{PodFixed: overhead},
		Scheduling: &nodev1.Scheduling{
			NodeSelector: map[string]string{"runtime": "gvisor"}, Tolerations: []corev1.Toleration{{Key: "gvisor", Operator: corev1.TolerationOpExists}},
		},
	}
	for name, test := range map[string]struct {
		in      corev1.PodSpec
		want    corev1.PodSpec
		refused string
	}{
		"nothing of its own": {want: corev1.PodSpec{Overhead: overhead, NodeSelector: class.Scheduling.NodeSelector, Tolerations: class.Scheduling.Tolerations}},
		"another overhead": {
			in:      corev1.PodSpec{Overhead: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
			refused: "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
		},
		"another node": {
			in:      corev1.PodSpec{NodeSelector: map[string]string{"runtime": "runc"}},
			refused: "conflict: runtimeClass.scheduling.nodeSelector[runtime] = gvisor; pod.spec.nodeSelector[runtime] = runc",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: test.in}
			got := ""
			if err := useRuntimeClass(pod, class); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.refused, got); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, pod.Spec); test.refused == "" && diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if err := overheadFits(pod, nil); test.refused == "" && err == nil {
				t.Error("an overhead without a class was let through")
			}
		})
	}
}

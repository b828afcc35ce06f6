package validation

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAResizeSaysWhichContainersItMayNotChange(t *testing.T) {
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", ResourceVersion: "1"}}
	for _, name := range []string{"a", "b"} {
		old.Spec.Containers = append(old.Spec.Containers, corev1.Container{
			Name: name, Image: "i", ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
		})
	}
	grace := int64(30)
	old.Spec.TerminationGracePeriodSeconds = &grace
	old.Spec.RestartPolicy, old.Spec.DNSPolicy = corev1.RestartPolicyAlways, corev1.DNSClusterFirst
	for what, c := range map[string]struct {
		change func(*corev1.PodSpec)
		want   []string
	}{
		"another amount": {func(s *corev1.PodSpec) {
			s.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("2")
		}, nil},
		"another order": {func(s *corev1.PodSpec) { s.Containers[0], s.Containers[1] = s.Containers[1], s.Containers[0] }, []string{
			"spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
			"spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
		}},
		"one less":      {func(s *corev1.PodSpec) { s.Containers = s.Containers[:1] }, []string{"spec: Forbidden: only cpu and memory resources are mutable"}},
		"another image": {func(s *corev1.PodSpec) { s.Containers[0].Image = "j" }, []string{"spec: Forbidden: only cpu and memory resources are mutable"}},
	} {
		pod := old.DeepCopy()
		c.change(&pod.Spec)
		var got []string
		for _, err := range PodResizeUpdate(pod, old, corev1.PodQOSBurstable) {
			got = append(got, err.Error())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

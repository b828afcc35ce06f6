package resourcequota

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
)

func TestOnlyWhatCanLowerTheUsageOfAPodHasItsNamespaceCountedAnew(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		frees  bool
	}{
		"it is bound":            {func(p *corev1.Pod) { p.Spec.NodeName = "n1" }, false},
		"it runs":                {func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }, false},
		"its status says more":   {func(p *corev1.Pod) { p.Status.PodIP = "10.42.0.5" }, false},
		"it succeeds":            {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, true},
		"it fails":               {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, true},
		"it is being deleted":    {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, true},
		"it asks for less":       {func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil }, true},
		"it is given a deadline": {func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			old := &corev1.Pod{
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
				}}}},
				Status: corev1.PodStatus{Phase: corev1.PodPending},
			}
			pod := old.DeepCopy()
			test.change(pod)
			if got := frees(inventory.Event{Old: old, New: pod}); got != test.frees {
				t.Errorf("frees: %v, want %v", got, test.frees)
			}
		})
	}
}

package ttlafterfinished_test

import (
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ttlafterfinished"
)

func TestAFinishedJobGoesWhenItsTimeIsOverAndNotBefore(t *testing.T) {
	e := controllerstest.New(t)
	e.Start(t, ttlafterfinished.New(e.Client, e.Factory).Run)
	jobs := e.Client.BatchV1().Jobs("default")
	now := metav1.Now()
	for name, ttl := range map[string]*int32{"soon": ptr.To[int32](1), "late": ptr.To[int32](3600), "kept": nil, "running": ptr.To[int32](0)} {
		j, err := jobs.Create(e.Ctx, &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: batchv1.JobSpec{TTLSecondsAfterFinished: ttl, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
			}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if name == "running" {
			continue
		}
		j.Status = batchv1.JobStatus{StartTime: &now, CompletionTime: &now, Succeeded: 1, Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue, LastTransitionTime: now, Reason: "CompletionsReached"},
			{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: now, Reason: "CompletionsReached"},
		}}
		if _, err := jobs.UpdateStatus(e.Ctx, j, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// In the foreground: the Job stays until the garbage collector, which does not run here, has seen its Pods go.
	going := func(name string) bool {
		j, err := jobs.Get(e.Ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			t.Fatalf("Job %s went before its Pods could", name)
		}
		return err == nil && j.DeletionTimestamp != nil && slices.Contains(j.Finalizers, metav1.FinalizerDeleteDependents)
	}
	controllerstest.Eventually(t, "the Job whose time is over is being deleted", func() bool { return going("soon") })
	for _, name := range []string{"late", "kept", "running"} {
		if going(name) {
			t.Errorf("Job %s is being deleted", name)
		}
	}
	// A shorter life counts at once.
	if _, err := jobs.Patch(e.Ctx, "late", types.MergePatchType, []byte(`{"spec":{"ttlSecondsAfterFinished":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the Job with the shorter life is being deleted", func() bool { return going("late") })
}

package cronjob_test

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/cronjob"
)

func TestACronJobStartsItsJobsAndKeepsAccountOfThem(t *testing.T) {
	e := controllerstest.New(t)
	now := clocktesting.NewFakePassiveClock(time.Now())
	e.Start(t, cronjob.New(e.Client, e.Factory, e.Events, now).Run)
	cronJobs, jobs := e.Client.BatchV1().CronJobs("default"), e.Client.BatchV1().Jobs("default")
	_, err := cronJobs.Create(e.Ctx, &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "report"},
		Spec: batchv1.CronJobSpec{
			Schedule: "* * * * *", ConcurrencyPolicy: batchv1.ReplaceConcurrent,
			JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "report"}},
				Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
				}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The next look is at the next change of the CronJob, since the test's clock does not pass by itself.
	pass := func(d time.Duration) {
		now.SetTime(now.Now().Add(d))
		patch := `{"metadata":{"annotations":{"now":"` + now.Now().String() + `"}}}`
		if _, err := cronJobs.Patch(e.Ctx, "report", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	running := func() []batchv1.Job {
		l, err := jobs.List(e.Ctx, metav1.ListOptions{LabelSelector: "app=report"})
		if err != nil {
			t.Fatal(err)
		}
		return l.Items
	}
	pass(time.Minute)
	controllerstest.Eventually(t, "the first Job is there and listed", func() bool {
		cj, err := cronJobs.Get(e.Ctx, "report", metav1.GetOptions{})
		all := running()
		return err == nil && len(all) == 1 && len(cj.Status.Active) == 1 && cj.Status.Active[0].UID == all[0].UID && cj.Status.LastScheduleTime != nil
	})
	first := running()[0]
	if ref := metav1.GetControllerOf(&first); ref == nil || ref.Kind != "CronJob" || !strings.HasPrefix(first.Name, "report-") || first.Annotations[batchv1.CronJobScheduledTimestampAnnotation] == "" {
		t.Errorf("the Job does not say which run it is: %s, %v, %v", first.Name, ref, first.Annotations)
	}
	pass(time.Minute)
	controllerstest.Eventually(t, "the second has replaced it", func() bool {
		all := running()
		return len(all) == 1 && all[0].UID != first.UID
	})
	second := running()[0]
	end := metav1.Now()
	second.Status = batchv1.JobStatus{StartTime: &end, CompletionTime: &end, Succeeded: 1, Conditions: []batchv1.JobCondition{
		{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue, LastTransitionTime: end},
		{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: end},
	}}
	if _, err := jobs.UpdateStatus(e.Ctx, &second, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "its success is noted, and nothing is listed", func() bool {
		cj, err := cronJobs.Get(e.Ctx, "report", metav1.GetOptions{})
		return err == nil && cj.Status.LastSuccessfulTime != nil && len(cj.Status.Active) == 0
	})
}

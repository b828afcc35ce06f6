package job_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/job"
)

func start(t *testing.T) *controllerstest.Env {
	e := controllerstest.New(t)
	e.Start(t, job.New(e.Client, e.Factory, e.Events).Run)
	return e
}

func create(t *testing.T, e *controllerstest.Env, name string, change func(*batchv1.JobSpec)) *batchv1.Job {
	t.Helper()
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: ptr.To[int64](0), Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
	}}}}
	change(&j.Spec)
	j, err := e.Client.BatchV1().Jobs("default").Create(e.Ctx, j, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func pods(t *testing.T, e *controllerstest.Env, name string) []corev1.Pod {
	t.Helper()
	list, err := e.Client.CoreV1().Pods("default").List(e.Ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// end reports a Pod as ended.
func end(t *testing.T, e *controllerstest.Env, name string, phase corev1.PodPhase) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":{"phase":%q}}`, phase)
	if _, err := e.Client.CoreV1().Pods("default").Patch(e.Ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, e *controllerstest.Env, name, what string, ok func(*batchv1.Job) bool) {
	t.Helper()
	controllerstest.Eventually(t, what, func() bool {
		j, err := e.Client.BatchV1().Jobs("default").Get(e.Ctx, name, metav1.GetOptions{})
		return err == nil && ok(j)
	})
}

func is(j *batchv1.Job, t batchv1.JobConditionType) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == t && c.Status == corev1.ConditionTrue })
}

func TestAnIndexedJobRunsEveryIndexAndCountsThem(t *testing.T) {
	e := start(t)
	create(t, e, "sum", func(s *batchv1.JobSpec) {
		s.CompletionMode, s.Completions, s.Parallelism = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](5), ptr.To[int32](2)
	})
	ended := map[string]bool{}
	eventually(t, e, "sum", "the Job is complete", func(j *batchv1.Job) bool {
		for _, p := range pods(t, e, "sum") {
			if !ended[p.Name] {
				ended[p.Name] = true
				if want := "sum-" + p.Labels[batchv1.JobCompletionIndexAnnotation]; p.Spec.Hostname != want || !strings.HasPrefix(p.Name, want+"-") {
					t.Errorf("Pod %s has the host name %s, want %s", p.Name, p.Spec.Hostname, want)
				}
				end(t, e, p.Name, corev1.PodSucceeded)
			}
		}
		return is(j, batchv1.JobComplete)
	})
	j, err := e.Client.BatchV1().Jobs("default").Get(e.Ctx, "sum", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s := j.Status; s.Succeeded != 5 || s.CompletedIndexes != "0-4" || s.Active != 0 || s.CompletionTime == nil || len(ended) != 5 {
		t.Errorf("%d Pods ran, and the status is %+v", len(ended), s)
	}
	for _, p := range pods(t, e, "sum") {
		if len(p.Finalizers) > 0 {
			t.Errorf("Pod %s keeps the finalizers %v", p.Name, p.Finalizers)
		}
	}
}

func TestPodsAreAdoptedByTheirLabelsAndLetGoWithoutThem(t *testing.T) {
	e := start(t)
	create(t, e, "sum", func(s *batchv1.JobSpec) { s.Parallelism, s.Completions = ptr.To[int32](2), ptr.To[int32](4) })
	eventually(t, e, "sum", "two Pods are active", func(j *batchv1.Job) bool { return j.Status.Active == 2 })
	client := e.Client.CoreV1().Pods("default")
	p := pods(t, e, "sum")[0]
	if _, err := client.Patch(e.Ctx, p.Name, types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the Job has its Pod back, to be counted", func() bool {
		p, err := client.Get(e.Ctx, p.Name, metav1.GetOptions{})
		return err == nil && metav1.GetControllerOf(p) != nil && slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer)
	})
	if _, err := client.Patch(e.Ctx, p.Name, types.MergePatchType, []byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the Job has let it go", func() bool {
		p, err := client.Get(e.Ctx, p.Name, metav1.GetOptions{})
		return err == nil && metav1.GetControllerOf(p) == nil && len(p.Finalizers) == 0
	})
	eventually(t, e, "sum", "another is in its place", func(j *batchv1.Job) bool { return j.Status.Active == 2 && len(pods(t, e, "sum")) == 2 })
}

func TestAPodOfAJobThatIsGoneCanBeDeleted(t *testing.T) {
	e := start(t)
	create(t, e, "sum", func(s *batchv1.JobSpec) {})
	eventually(t, e, "sum", "its Pod is active", func(j *batchv1.Job) bool { return j.Status.Active == 1 })
	p := pods(t, e, "sum")[0]
	if err := e.Client.BatchV1().Jobs("default").Delete(e.Ctx, "sum", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}); err != nil {
		t.Fatal(err)
	}
	if err := e.Client.CoreV1().Pods("default").Delete(e.Ctx, p.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the Pod is gone", func() bool {
		_, err := e.Client.CoreV1().Pods("default").Get(e.Ctx, p.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestAJobOfAnotherControllerIsLeftAlone(t *testing.T) {
	e := start(t)
	create(t, e, "theirs", func(s *batchv1.JobSpec) { s.ManagedBy = ptr.To("example.com/queue") })
	create(t, e, "ours", func(s *batchv1.JobSpec) {})
	eventually(t, e, "ours", "ours runs", func(j *batchv1.Job) bool { return j.Status.Active == 1 })
	j, err := e.Client.BatchV1().Jobs("default").Get(e.Ctx, "theirs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(pods(t, e, "theirs")); n > 0 || j.Status.StartTime != nil {
		t.Errorf("theirs has %d Pods and the status %+v", n, j.Status)
	}
	// Their Pods keep the finalizer: they are theirs to count, also when the Job is over.
	own := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "theirs-a", Finalizers: []string{batchv1.JobTrackingFinalizer},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(j, batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
	}
	if _, err := e.Client.CoreV1().Pods("default").Create(e.Ctx, own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	create(t, e, "later", func(s *batchv1.JobSpec) {})
	eventually(t, e, "later", "a Job made later runs", func(j *batchv1.Job) bool { return j.Status.Active == 1 })
	p, err := e.Client.CoreV1().Pods("default").Get(e.Ctx, "theirs-a", metav1.GetOptions{})
	if err != nil || len(p.Finalizers) != 1 {
		t.Errorf("their Pod has the finalizers %v, %v", p.Finalizers, err)
	}
}

func TestASuspendedJobStopsAndGoesOn(t *testing.T) {
	e := start(t)
	create(t, e, "sum", func(s *batchv1.JobSpec) {})
	eventually(t, e, "sum", "its Pod is active", func(j *batchv1.Job) bool { return j.Status.Active == 1 })
	suspend := func(b bool) {
		t.Helper()
		if _, err := e.Client.BatchV1().Jobs("default").Patch(e.Ctx, "sum", types.MergePatchType, []byte(fmt.Sprintf(`{"spec":{"suspend":%v}}`, b)), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	suspend(true)
	eventually(t, e, "sum", "nothing runs", func(j *batchv1.Job) bool {
		return is(j, batchv1.JobSuspended) && j.Status.Active == 0 && j.Status.StartTime == nil && len(pods(t, e, "sum")) == 0
	})
	suspend(false)
	eventually(t, e, "sum", "it runs again, and has failed nothing", func(j *batchv1.Job) bool {
		return !is(j, batchv1.JobSuspended) && j.Status.Active == 1 && j.Status.Failed == 0 && j.Status.StartTime != nil
	})
}

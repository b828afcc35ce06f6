package poddisruptionbudget_test

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/poddisruptionbudget"
)

var labels = map[string]string{"app": "web"}

func start(t *testing.T) *controllerstest.Env {
	e := controllerstest.New(t)
	kinds := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(e.Discovery))
	scales, err := scale.NewForConfig(rest.CopyConfig(e.Cluster.System), kinds, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(e.Discovery))
	if err != nil {
		t.Fatal(err)
	}
	e.Start(t, poddisruptionbudget.New(e.Client, e.Factory, e.Events, scales, kinds, e.Discovery).Run)
	return e
}

// pod makes a Pod that runs, and is ready or not.
func pod(t *testing.T, e *controllerstest.Env, name string, ready bool, owner *metav1.OwnerReference) {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
	}
	if owner != nil {
		p.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	p, err := e.Client.CoreV1().Pods("default").Create(e.Ctx, p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	setReady(t, e, p.Name, ready)
}

func setReady(t *testing.T, e *controllerstest.Env, name string, ready bool) {
	t.Helper()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	patch := fmt.Sprintf(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":%q}]}}`, status)
	if _, err := e.Client.CoreV1().Pods("default").Patch(e.Ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

func budget(t *testing.T, e *controllerstest.Env, spec policyv1.PodDisruptionBudgetSpec) {
	t.Helper()
	spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	_, err := e.Client.PolicyV1().PodDisruptionBudgets("default").Create(e.Ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func allowed(t *testing.T, e *controllerstest.Env, want int32) {
	t.Helper()
	controllerstest.Eventually(t, fmt.Sprintf("%d may go", want), func() bool {
		pdb, err := e.Client.PolicyV1().PodDisruptionBudgets("default").Get(e.Ctx, "web", metav1.GetOptions{})
		return err == nil && pdb.Status.ObservedGeneration == pdb.Generation && pdb.Status.DisruptionsAllowed == want
	})
}

func evict(e *controllerstest.Env, name string, opts *metav1.DeleteOptions) error {
	return e.Client.PolicyV1().Evictions("default").Evict(e.Ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, DeleteOptions: opts})
}

func TestNoMorePodsAreEvictedThanABudgetAllows(t *testing.T) {
	e := start(t)
	rs, err := e.Client.AppsV1().ReplicaSets("default").Create(e.Ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](3), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owner := metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	for _, name := range []string{"web-a", "web-b", "web-c"} {
		pod(t, e, name, true, owner)
	}
	budget(t, e, policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1))})
	allowed(t, e, 1)

	if err := evict(e, "web-a", &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("a dry run: %v", err)
	}
	if err := evict(e, "web-a", &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("another")}); !apierrors.IsConflict(err) {
		t.Errorf("with the UID of another Pod: got %v, want a conflict", err)
	}
	if err := evict(e, "web-a", nil); err != nil {
		t.Fatal(err)
	}
	// At once, whatever the controller has seen by now.
	err = evict(e, "web-b", nil)
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Errorf("the second eviction: got %v, want 429 for the budget", err)
	}
	gone, err := e.Client.CoreV1().Pods("default").Get(e.Ctx, "web-a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	marked := false
	for _, c := range gone.Status.Conditions {
		marked = marked || c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == "EvictionByEvictionAPI"
	}
	if !marked || gone.DeletionTimestamp == nil {
		t.Errorf("the evicted Pod does not say so: deleted %v, %v", gone.DeletionTimestamp, gone.Status.Conditions)
	}
	// One that comes in its place restores the budget.
	pod(t, e, "web-d", true, owner)
	allowed(t, e, 1)
	// A Pod that has not begun to run protects nobody.
	if _, err := e.Client.CoreV1().Pods("default").Create(e.Ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-e", Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := evict(e, "web-e", nil); err != nil {
		t.Errorf("a pending Pod: %v", err)
	}
	allowed(t, e, 1)
}

func TestPodsThatAreNotReadyGoByTheirOwnPolicy(t *testing.T) {
	e := start(t)
	pod(t, e, "web-a", true, nil)
	pod(t, e, "web-b", false, nil)
	budget(t, e, policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(2))})
	allowed(t, e, 0)
	controllerstest.Eventually(t, "one healthy Pod is counted", func() bool {
		pdb, err := e.Client.PolicyV1().PodDisruptionBudgets("default").Get(e.Ctx, "web", metav1.GetOptions{})
		return err == nil && pdb.Status.CurrentHealthy == 1
	})
	if err := evict(e, "web-b", nil); !apierrors.IsTooManyRequests(err) {
		t.Errorf("while what is protected is disrupted: got %v, want 429", err)
	}
	patch := []byte(`{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}`)
	if _, err := e.Client.PolicyV1().PodDisruptionBudgets("default").Patch(e.Ctx, "web", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := evict(e, "web-b", nil); err != nil {
		t.Errorf("with AlwaysAllow: %v", err)
	}
	if err := evict(e, "web-a", nil); !apierrors.IsTooManyRequests(err) {
		t.Errorf("the healthy one: got %v, want 429", err)
	}
}

func TestAPodOfTwoBudgetsIsNotEvicted(t *testing.T) {
	e := start(t)
	pod(t, e, "web-a", true, nil)
	for _, name := range []string{"one", "two"} {
		_, err := e.Client.PolicyV1().PodDisruptionBudgets("default").Create(e.Ctx, &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, MinAvailable: ptr.To(intstr.FromInt32(0))},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := evict(e, "web-a", nil); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "more than one PodDisruptionBudget") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestOwnersOfAnyKindAreAskedForTheirScale(t *testing.T) {
	e := start(t)
	job := &metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: "sum", UID: "u", Controller: ptr.To(true)}
	pod(t, e, "web-a", true, job)
	budget(t, e, policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1))})
	controllerstest.Eventually(t, "that a Job cannot be scaled is in the condition", func() bool {
		pdb, err := e.Client.PolicyV1().PodDisruptionBudgets("default").Get(e.Ctx, "web", metav1.GetOptions{})
		return err == nil && len(pdb.Status.Conditions) == 1 && pdb.Status.Conditions[0].Reason == policyv1.SyncFailedReason &&
			strings.Contains(pdb.Status.Conditions[0].Message, "jobs.batch does not implement the scale subresource")
	})
}

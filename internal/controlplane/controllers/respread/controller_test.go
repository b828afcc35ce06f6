package respread_test

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/deployment"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/poddisruptionbudget"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/replicaset"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/respread"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

// nodes makes every Pod that is bound ready at once, and lets those go that are deleted.
func nodes(t *testing.T, e *controllerstest.Env) {
	act := func(obj any) {
		p, ok := obj.(*corev1.Pod)
		switch {
		case !ok || p.Spec.NodeName == "":
		case p.DeletionTimestamp != nil:
			_ = e.Client.CoreV1().Pods(p.Namespace).Delete(e.Ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0), Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
		case !podstate.Ready(p):
			patch := fmt.Sprintf(`{"metadata":{"uid":%q},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":%q}]}}`, p.UID, time.Now().UTC().Format(time.RFC3339))
			_, _ = e.Client.CoreV1().Pods(p.Namespace).Patch(e.Ctx, p.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
		}
	}
	if _, err := e.Factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: act, UpdateFunc: func(_, obj any) { act(obj) },
	}); err != nil {
		t.Fatal(err)
	}
}

func budgets(t *testing.T, e *controllerstest.Env) func(context.Context) {
	kinds := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(e.Discovery))
	scales, err := scale.NewForConfig(rest.CopyConfig(e.Cluster.System), kinds, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(e.Discovery))
	if err != nil {
		t.Fatal(err)
	}
	return poddisruptionbudget.New(e.Client, e.Factory, e.Events, scales, kinds, e.Discovery).Run
}

func TestAWorkloadIsSpreadOverANodeThatHasComeWithinItsBudgetAndThenLeftAlone(t *testing.T) {
	e := controllerstest.New(t)
	e.Node(t, "n1", "4", "4Gi")
	e.Node(t, "n2", "4", "4Gi")
	nodes(t, e)
	e.Start(t,
		scheduler.New(e.Client, e.Factory, e.Events, profile.Default()).Run, deployment.New(e.Client, e.Factory, e.Events).Run,
		replicaset.New(e.Client, e.Factory, e.Events).Run, budgets(t, e), respread.New(e.Client, e.Factory, e.Events, profile.Default(), respread.Pace{Fresh: time.Hour}).Run)
	create := func(name string, annotations map[string]string) {
		labels := map[string]string{"app": name}
		if _, err := e.Client.AppsV1().Deployments("default").Create(e.Ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.DeploymentSpec{
				Replicas: ptr.To[int32](6), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
				},
			},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("asks", map[string]string{v1alpha1.AnnotationSpreadAgain: "true"})
	create("rests", nil)
	if _, err := e.Client.PolicyV1().PodDisruptionBudgets("default").Create(e.Ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "asks"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(5)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "asks"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	spread := func(app string) (byNode map[string]int, uids map[types.UID]bool) {
		list, err := e.Client.CoreV1().Pods("default").List(e.Ctx, metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			t.Fatal(err)
		}
		byNode, uids = map[string]int{}, map[types.UID]bool{}
		for _, p := range list.Items {
			if p.DeletionTimestamp == nil && podstate.Ready(&p) {
				byNode[p.Spec.NodeName]++
				uids[p.UID] = true
			}
		}
		return byNode, uids
	}
	three := map[string]int{"n1": 3, "n2": 3}
	controllerstest.Eventually(t, "both run on two nodes", func() bool {
		a, _ := spread("asks")
		b, _ := spread("rests")
		return maps.Equal(a, three) && maps.Equal(b, three)
	})
	controllerstest.Eventually(t, "the budget allows one disruption", func() bool {
		b, err := e.Client.PolicyV1().PodDisruptionBudgets("default").Get(e.Ctx, "asks", metav1.GetOptions{})
		return err == nil && b.Status.DisruptionsAllowed == 1
	})
	_, before := spread("asks")

	e.Node(t, "n3", "4", "4Gi")
	two := map[string]int{"n1": 2, "n2": 2, "n3": 2}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		now, _ := spread("asks")
		if maps.Equal(now, two) {
			break
		}
		if n := now["n1"] + now["n2"] + now["n3"]; n < 5 {
			t.Fatalf("%d of 6 Pods are ready, the budget wants 5", n)
		}
		if time.Now().After(end) {
			t.Fatalf("after 30 s the Pods are spread %v", now)
		}
	}
	_, after := spread("asks")
	maps.DeleteFunc(before, func(uid types.UID, _ bool) bool { return after[uid] })
	if len(before) != 2 {
		t.Errorf("%d Pods were moved, want 2", len(before))
	}
	time.Sleep(time.Second) // whatever might be moved in vain is moved now
	_, later := spread("asks")
	if !maps.Equal(after, later) {
		t.Error("Pods are moved although they are spread")
	}
	if rests, _ := spread("rests"); !maps.Equal(rests, three) {
		t.Errorf("a workload that did not ask was moved: %v", rests)
	}
}

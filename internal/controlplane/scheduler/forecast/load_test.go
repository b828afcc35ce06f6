package forecast

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func deployment(t *testing.T, namespace, name string, replicas int64, image string) *unstructured.Unstructured {
	t.Helper()
	var u unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(`apiVersion: apps/v1
kind: Deployment
metadata: {name: `+name+`, namespace: `+namespace+`}
spec:
  selector: {matchLabels: {app: `+name+`}}
  template:
    metadata: {labels: {app: `+name+`}}
    spec:
      serviceAccountName: comes-later
      containers: [{name: c, image: "`+image+`"}]
`), &u.Object); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(u.Object, replicas, "spec", "replicas"); err != nil {
		t.Fatal(err)
	}
	return &u
}

func TestAPlansPodsAreCompletedByTheServerAndPlaced(t *testing.T) {
	c, err := kubernetes.NewForConfig(servertest.Start(t).System)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, ns := range []string{"shop", "gitopsd-system"} {
		if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// Pods that ask for nothing get half a cpu in shop.
	if _, err := c.CoreV1().LimitRanges("shop").Create(ctx, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "half"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")},
	}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("110")}
	node, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Spec.Taints = nil
	if node, err = c.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	node.Status.Capacity, node.Status.Allocatable = room, room
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if _, err := c.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	running := func(app string, n int) {
		t.Helper()
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: app + "-", Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{NodeName: "w1", Containers: []corev1.Container{{Name: "c", Image: "c:1"}}}}
		for range n {
			if _, err := c.CoreV1().Pods("shop").Create(ctx, p, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	running("grows", 1)
	running("changes", 1)
	running("goes", 1)

	world, err := why.Load(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	gone, workloads, err := Load(ctx, c, world, []Change{
		{Name: "goes", Before: deployment(t, "shop", "goes", 1, "c:1")},
		{Name: "changes", Before: deployment(t, "shop", "changes", 1, "c:1"), After: deployment(t, "shop", "changes", 1, "c:2")},
		{Name: "shrinks", Before: deployment(t, "shop", "shrinks", 4, "c:1"), After: deployment(t, "shop", "shrinks", 1, "c:1")},
		{Name: "grows", Before: deployment(t, "shop", "grows", 1, "c:1"), After: deployment(t, "shop", "grows", 6, "c:1")},
		{Name: "elsewhere", After: deployment(t, "not-yet", "elsewhere", 2, "c:1")},
		{Name: "refused", After: deployment(t, "shop", "refused", 2, "")},
	}, "gitopsd-system")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Outlook{}
	for _, o := range Make(world, gone, workloads, profile.Default()) {
		got[o.Workload] = o
	}
	for name, want := range map[string]struct {
		pods, fit int
		says      string
	}{
		"changes":   {1, 1, ""},
		"grows":     {5, 2, "Insufficient cpu"}, // one runs, one is of changes, two are left
		"elsewhere": {2, 2, ""},
		"refused":   {2, 0, "image"},
	} {
		o := got[name]
		if o.Pods != want.pods || o.Fit != want.fit || !strings.Contains(o.Message, want.says) || (want.says == "") != (o.Message == "") {
			t.Errorf("%s: %+v, want %d of %d to fit, and %q said", name, o, want.fit, want.pods, want.says)
		}
	}
	if len(got) != 4 {
		t.Errorf("the forecast is %+v, want nothing about what only goes or shrinks", got)
	}
	if pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); err != nil || len(pods.Items) != 3 {
		t.Errorf("%d Pods are there afterwards, want the 3 from before: %v", len(pods.Items), err)
	}
}

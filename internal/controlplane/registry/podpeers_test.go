package registry_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestANodeIsToldOfOthersPodsOnlyWhatPoliciesAskAndOfItsOwnEverything(t *testing.T) {
	config := servertest.Start(t).System
	admin, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	as := rest.CopyConfig(config)
	as.Impersonate = rest.ImpersonationConfig{UserName: "system:node:a", Groups: []string{"system:nodes", "system:authenticated"}}
	node, err := kubernetes.NewForConfig(as)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	made, err := admin.CoreV1().Pods("shop").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"secret": "1"}},
		Spec: corev1.PodSpec{NodeName: "b", Containers: []corev1.Container{{
			Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "x"}},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}, {ContainerPort: 81}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := func(ip string, labels map[string]string) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: made.UID, Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80, Protocol: corev1.ProtocolTCP}}}}},
			Status:     corev1.PodStatus{Phase: corev1.PodPending},
		}
		if ip != "" {
			p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
		}
		return p
	}
	check := func(what string, want, got *corev1.Pod) {
		t.Helper()
		got = got.DeepCopy()
		got.ResourceVersion, got.TypeMeta = "", metav1.TypeMeta{}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	list, err := node.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatal(list, err)
	}
	check("list", want("", map[string]string{"app": "web"}), &list.Items[0])
	if list, err := node.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=a"}); err != nil || len(list.Items) != 0 {
		t.Errorf("its own: %v, %v", list, err)
	}

	// Several watches, as the watch cache wraps what it sends to many.
	var watches []watch.Interface
	for range 5 {
		w, err := node.CoreV1().Pods("shop").Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		watches = append(watches, w)
	}
	status := made.DeepCopy()
	for _, set := range []func(){
		func() { status.Status.PodIP, status.Status.PodIPs = "10.42.0.9", []corev1.PodIP{{IP: "10.42.0.9"}} },
		func() { status.Status.Message = "nothing that a policy asks" },
	} {
		set()
		if status, err = admin.CoreV1().Pods("shop").UpdateStatus(ctx, status, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.CoreV1().Pods("shop").Patch(ctx, "p", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"db"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, w := range watches {
		for _, want := range []*corev1.Pod{want("10.42.0.9", map[string]string{"app": "web"}), want("10.42.0.9", map[string]string{"app": "db"})} {
			select {
			case e := <-w.ResultChan():
				got, ok := e.Object.(*corev1.Pod)
				if !ok || e.Type != watch.Modified {
					t.Fatalf("event %s %v", e.Type, e.Object)
				}
				check("watch", want, got)
			case <-time.After(10 * time.Second):
				t.Fatal("no event after 10 s")
			}
		}
	}
	whole, err := admin.CoreV1().Pods("shop").Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Stop()
	if p := (<-whole.ResultChan()).Object.(*corev1.Pod); len(p.Spec.Containers[0].Env) != 1 {
		t.Errorf("an administrator is shown %v", p)
	}
}

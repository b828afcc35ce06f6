package server_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestABoundPodSaysInWhichZoneItIs(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	account(t, k, "shop")
	must[*corev1.Node](t)(k.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "z1"}}}, metav1.CreateOptions{}))
	pods := k.CoreV1().Pods("shop")
	must[*corev1.Pod](t)(pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{
		ServiceAccountName: "worker", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
	}}, metav1.CreateOptions{}))
	eventually(t, "the server has seen the Node", func() bool {
		n, err := c.Server.Informers().Core().V1().Nodes().Lister().Get("n1")
		return err == nil && n.Name == "n1"
	})
	if err := pods.Bind(t.Context(), &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := must[*corev1.Pod](t)(pods.Get(t.Context(), "web", metav1.GetOptions{}))
	if diff := cmp.Diff(map[string]string{"app": "web", corev1.LabelTopologyZone: "z1"}, pod.Labels); diff != "" || pod.Spec.NodeName != "n1" {
		t.Errorf("on %q, labels (-want +got)\n%s", pod.Spec.NodeName, diff)
	}
}

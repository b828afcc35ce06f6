package endpoints_test

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/endpoints"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/endpointslice"
)

func TestEndpointsAndSlicesTellTheSameStory(t *testing.T) {
	e := controllerstest.New(t)
	e.Start(t, endpointslice.New(e.Client, e.Factory, e.Events).Run, endpoints.New(e.Client, e.Factory, e.Events).Run)
	e.Node(t, "n1", "4", "4Gi")
	core := e.Client.CoreV1()
	service := func(name string, selector map[string]string) {
		t.Helper()
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Port: 80}}}}
		if _, err := core.Services("default").Create(e.Ctx, svc, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	addresses := func(name string) (n int) {
		got, err := core.Endpoints("default").Get(e.Ctx, name, metav1.GetOptions{})
		if err != nil {
			return -1
		}
		for _, s := range got.Subsets {
			n += len(s.Addresses)
		}
		return n
	}
	mirrored := func(name string) (n int) {
		all, err := e.Client.DiscoveryV1().EndpointSlices("default").List(e.Ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + name})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all.Items {
			n += len(s.Endpoints)
		}
		return n
	}

	service("web", map[string]string{"app": "web"})
	p, err := core.Pods("default").Create(e.Ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, "10.42.0.2", []corev1.PodIP{{IP: "10.42.0.2"}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	if _, err := core.Pods("default").UpdateStatus(e.Ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the Endpoints have the Pod's address", func() bool { return addresses("web") == 1 })
	if err := core.Endpoints("default").Delete(e.Ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "Endpoints that somebody deleted come back", func() bool { return addresses("web") == 1 })
	if err := core.Services("default").Delete(e.Ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the Endpoints are gone with the Service", func() bool { return addresses("web") == -1 })

	service("legacy", nil)
	byHand := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: "legacy"},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}, Ports: []corev1.EndpointPort{{Port: 80}}}},
	}
	made, err := core.Endpoints("default").Create(e.Ctx, byHand, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "a slice mirrors the address", func() bool { return mirrored("legacy") == 1 })
	made.Subsets[0].Addresses = append(made.Subsets[0].Addresses, corev1.EndpointAddress{IP: "192.0.2.2"})
	if _, err := core.Endpoints("default").Update(e.Ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the second address follows", func() bool { return mirrored("legacy") == 2 })
	if err := core.Endpoints("default").Delete(e.Ctx, "legacy", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the mirror is gone", func() bool { return mirrored("legacy") == 0 })
}

package loadbalancer

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
)

func TestAServiceIsGivenTheAddressesOfNodesThatBecomeReady(t *testing.T) {
	n := node([]string{"a", "192.0.2.1", "unready"}, nil)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	client := fake.NewClientset(n, s)
	f := informers.NewSharedInformerFactory(client, 0)
	events := record.NewFakeRecorder(10)
	c := New(client, f, events, Config{})
	f.Start(t.Context().Done())
	done := make(chan struct{})
	go func() { c.Run(t.Context()); close(done) }()
	t.Cleanup(func() { <-done; f.Shutdown() })

	hears(t, events, "Warning LoadBalancerPending no node is ready")
	n = node([]string{"a", "192.0.2.1"}, nil)
	if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	hears(t, events, "Normal LoadBalancerAddresses is reached at 192.0.2.1")
	got, err := client.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || len(got.Status.LoadBalancer.Ingress) != 1 || got.Status.LoadBalancer.Ingress[0].IP != "192.0.2.1" {
		t.Errorf("status %v, %v", got.Status, err)
	}
}

func hears(t *testing.T, events *record.FakeRecorder, want string) {
	t.Helper()
	select {
	case got := <-events.Events:
		if strings.TrimSpace(got) != want {
			t.Errorf("event %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no event after 10 s, want %q", want)
	}
}

func TestOnlyServicesThatMayBeInABalancersWayAreLookedInto(t *testing.T) {
	balanced := corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}}
	for _, c := range []struct {
		service corev1.Service
		want    bool
	}{
		{corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}}, false},
		{corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}}, false},
		{corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}}, true},
		{corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}, true},
		{corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}, Status: balanced}, true}, // its addresses are to be taken back
	} {
		if got := len(ifItHasPorts(&c.service)) > 0; got != c.want {
			t.Errorf("type %s, status %v: looked into: %t, want %t", c.service.Spec.Type, c.service.Status.LoadBalancer, got, c.want)
		}
	}
}

package ingressstatus

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

func node(name string, ready corev1.ConditionStatus, addresses ...corev1.NodeAddress) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Addresses = addresses
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	return n
}

func at(kind corev1.NodeAddressType, ip string) corev1.NodeAddress {
	return corev1.NodeAddress{Type: kind, Address: ip}
}

func cluster(classes translate.Classes, ingresses ...*networkingv1.Ingress) translate.Cluster {
	return translate.Cluster{
		Classes: classes, Ingresses: ingresses, Service: func(string) *corev1.Service { return nil }, Slices: func(string) []*discoveryv1.EndpointSlice { return nil },
		Secret: func(string) translate.Secret { return translate.Secret{} },
	}
}

func TestTheClassIsMadeAndThenLeftAlone(t *testing.T) {
	a := Decide(cluster(nil), nil)
	if a.Class == nil || a.Class.Name != "gitopsd" || a.Class.Spec.Controller != translate.Controller || a.Class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
		t.Fatalf("in an empty cluster: %+v", a.Class)
	}
	if again := Decide(cluster(translate.Classes{a.Class}), nil); again.Class != nil {
		t.Errorf("made again: %+v", again.Class)
	}
	other := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}}}
	if a := Decide(cluster(translate.Classes{other}), nil); a.Class == nil || len(a.Class.Annotations) > 0 {
		t.Errorf("beside another default: %+v", a.Class)
	}
}

func TestAnIngressTellsTheNodesThatServeIt(t *testing.T) {
	ours, theirs := "gitopsd", "nginx"
	classes := translate.Classes{
		{ObjectMeta: metav1.ObjectMeta{Name: ours}, Spec: networkingv1.IngressClassSpec{Controller: translate.Controller}},
		{ObjectMeta: metav1.ObjectMeta{Name: theirs}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}},
	}
	mine := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: networkingv1.IngressSpec{IngressClassName: &ours}}
	other := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Spec: networkingv1.IngressSpec{IngressClassName: &theirs}}
	excluded := node("d", corev1.ConditionTrue, at(corev1.NodeInternalIP, "10.0.0.4"))
	excluded.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""}
	nodes := []*corev1.Node{
		node("b", corev1.ConditionTrue, at(corev1.NodeInternalIP, "10.0.0.12"), at(corev1.NodeHostName, "b")),
		node("a", corev1.ConditionTrue, at(corev1.NodeInternalIP, "10.0.0.2"), at(corev1.NodeExternalIP, "192.0.2.1")),
		node("c", corev1.ConditionUnknown, at(corev1.NodeInternalIP, "10.0.0.3")), excluded,
	}
	a := Decide(cluster(classes, mine, other), nodes)
	if len(a.Status) != 1 || a.Status[0].Name != "mine" {
		t.Fatalf("written: %+v", a.Status)
	}
	want := []networkingv1.IngressLoadBalancerIngress{{IP: "10.0.0.12"}, {IP: "192.0.2.1"}}
	if diff := cmp.Diff(want, a.Status[0].Status.LoadBalancer.Ingress); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if again := Decide(cluster(classes, a.Status[0], other), nodes); len(again.Status) > 0 {
		t.Errorf("written again: %+v", again.Status)
	}
}

func TestWhatIsWrongIsToldOnceAndAgainWhenItComesBack(t *testing.T) {
	events := record.NewFakeRecorder(10)
	c := &Controller{events: events, told: map[complaint]bool{}, seen: map[complaint]time.Time{}}
	p := []translate.Complaint{{Ingress: &networkingv1.Ingress{}, Reason: translate.ReasonBackend, Message: "there is no Service shop/web"}}
	now := time.Now()
	if again := c.complain(p, now); again != settle || len(events.Events) != 0 {
		t.Errorf("at first: again in %s, %d Events", again, len(events.Events))
	}
	for range 3 {
		c.complain(p, now.Add(settle))
	}
	if len(events.Events) != 1 || !strings.Contains(<-events.Events, "IngressBackend there is no Service") {
		t.Fatal("it is not told once")
	}
	c.complain(nil, now.Add(settle))
	c.complain(p, now.Add(2*settle))
	c.complain(p, now.Add(3*settle))
	if len(events.Events) != 1 {
		t.Errorf("when it came back: %d Events", len(events.Events))
	}
}

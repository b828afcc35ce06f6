package endpointslice_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/endpointslice"
)

// setup runs the controller on a cluster with one node.
func setup(t *testing.T) *controllerstest.Env {
	t.Helper()
	e := controllerstest.New(t)
	c := endpointslice.New(e.Client, e.Factory, e.Events)
	e.Start(t, c.Run)
	e.Node(t, "n1", "4", "4Gi")
	return e
}

func service(t *testing.T, e *controllerstest.Env, name string, spec corev1.ServiceSpec) {
	t.Helper()
	spec.Selector = map[string]string{"app": "web"}
	spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	if _, err := e.Client.CoreV1().Services("default").Create(e.Ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// pod makes a Pod with an address, or changes whether it is ready.
func pod(t *testing.T, e *controllerstest.Env, name, ip string, ready bool) {
	t.Helper()
	pods := e.Client.CoreV1().Pods("default")
	controllerstest.Eventually(t, "the Pod's status is written", func() bool {
		p, err := pods.Get(e.Ctx, name, metav1.GetOptions{})
		if err != nil {
			p, err = pods.Create(e.Ctx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		}
		status := corev1.ConditionFalse
		if ready {
			status = corev1.ConditionTrue
		}
		p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.Now()}}
		_, err = pods.UpdateStatus(e.Ctx, p, metav1.UpdateOptions{})
		return err == nil
	})
}

// endpoints lists a Service's endpoints as "address", "address (not ready)" or "address (terminating)".
func endpoints(t *testing.T, e *controllerstest.Env, service string) (out []string, count int) {
	t.Helper()
	all, err := e.Client.DiscoveryV1().EndpointSlices("default").List(e.Ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all.Items {
		for _, ep := range s.Endpoints {
			text := ep.Addresses[0]
			switch {
			case ptr.Deref(ep.Conditions.Terminating, false):
				text += " (terminating)"
			case !ptr.Deref(ep.Conditions.Ready, true):
				text += " (not ready)"
			}
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return out, len(all.Items)
}

func want(t *testing.T, e *controllerstest.Env, service string, want ...string) {
	t.Helper()
	var got []string
	controllerstest.Eventually(t, fmt.Sprintf("Service %s has the endpoints %q", service, want), func() bool {
		got, _ = endpoints(t, e, service)
		return cmp.Equal(want, got)
	})
}

func TestEndpointsFollowTheReadinessOfPods(t *testing.T) {
	e := setup(t)
	service(t, e, "web", corev1.ServiceSpec{})
	service(t, e, "headless", corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone})
	service(t, e, "eager", corev1.ServiceSpec{PublishNotReadyAddresses: true})
	pod(t, e, "a", "10.42.0.2", true)
	pod(t, e, "b", "10.42.0.3", false)
	for _, s := range []string{"web", "headless"} {
		want(t, e, s, "10.42.0.2", "10.42.0.3 (not ready)")
	}
	want(t, e, "eager", "10.42.0.2", "10.42.0.3")
	pod(t, e, "b", "10.42.0.3", true)
	want(t, e, "web", "10.42.0.2", "10.42.0.3")
	if err := e.Client.CoreV1().Pods("default").Delete(e.Ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want(t, e, "web", "10.42.0.2 (terminating)", "10.42.0.3")
	if err := e.Client.CoreV1().Pods("default").Delete(e.Ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	want(t, e, "web", "10.42.0.3")
}

func TestSlicesThatSomebodyDeletesComeBackAndThoseOfAServiceThatIsGoneGo(t *testing.T) {
	e := setup(t)
	service(t, e, "web", corev1.ServiceSpec{})
	pod(t, e, "a", "10.42.0.2", true)
	want(t, e, "web", "10.42.0.2")
	if err := e.Client.DiscoveryV1().EndpointSlices("default").DeleteCollection(e.Ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	want(t, e, "web", "10.42.0.2")
	if err := e.Client.CoreV1().Services("default").Delete(e.Ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "no slice is left", func() bool { _, n := endpoints(t, e, "web"); return n == 0 })
}

func TestManyPodsComingAndGoingAtOnceAreAllAccountedFor(t *testing.T) {
	e := setup(t)
	service(t, e, "web", corev1.ServiceSpec{})
	var all []string
	for i := range 120 {
		ip := fmt.Sprintf("10.42.0.%d", i+2)
		pod(t, e, fmt.Sprintf("p%d", i), ip, true)
		if i%3 == 0 {
			if err := e.Client.CoreV1().Pods("default").Delete(e.Ctx, fmt.Sprintf("p%d", i), metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		all = append(all, ip)
	}
	slices.Sort(all)
	want(t, e, "web", all...)
}

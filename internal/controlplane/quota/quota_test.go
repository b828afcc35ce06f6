package quota

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func resources(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func texts(list corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for name, q := range list {
		out[string(name)] = q.String()
	}
	return out
}

func TestAPodUsesWhatItAsksForUntilItHasEnded(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Resources: corev1.ResourceRequirements{
		Requests: resources("cpu", "100m", "memory", "1Gi", "example.com/gpu", "2"), Limits: resources("cpu", "1"),
	}}}}}
	want := map[string]string{
		"count/pods": "1", "pods": "1", "cpu": "100m", "requests.cpu": "100m", "limits.cpu": "1", "memory": "1Gi", "requests.memory": "1Gi", "requests.example.com/gpu": "2",
	}
	got, err := pods(nil).Usage(pod)
	if diff := cmp.Diff(want, texts(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	pod.Status.Phase = corev1.PodSucceeded
	got, err = pods(nil).Usage(pod)
	if diff := cmp.Diff(map[string]string{"count/pods": "1"}, texts(got)); err != nil || diff != "" {
		t.Errorf("after it has ended: %v (-want +got):\n%s", err, diff)
	}
}

func TestAScopeSelectsPodsByWhatTheyAre(t *testing.T) {
	minute := int64(60)
	plain := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}}}
	busy := &corev1.Pod{Spec: corev1.PodSpec{
		ActiveDeadlineSeconds: &minute, PriorityClassName: "high",
		Containers: []corev1.Container{{Name: "web", Resources: corev1.ResourceRequirements{Requests: resources("cpu", "1")}}},
	}}
	for _, test := range []struct {
		scope       corev1.ScopedResourceSelectorRequirement
		plain, busy bool
	}{
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeTerminating}, false, true},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeNotTerminating}, true, false},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeBestEffort}, true, false},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeNotBestEffort}, false, true},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpExists}, false, true},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"low"}}, false, false},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpNotIn, Values: []string{"low"}}, true, true},
		{corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeCrossNamespacePodAffinity}, false, false},
	} {
		for pod, want := range map[*corev1.Pod]bool{plain: test.plain, busy: test.busy} {
			if got, err := podInScope(test.scope, pod); err != nil || got != want {
				t.Errorf("%s %s %v of the Pod with class %q: got %v, %v; want %v", test.scope.ScopeName, test.scope.Operator, test.scope.Values, pod.Spec.PriorityClassName, got, err, want)
			}
		}
	}
}

func TestAPodMustStateWhatIsLimited(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "a", Resources: corev1.ResourceRequirements{Requests: resources("cpu", "1"), Limits: resources("memory", "1Gi")}}, {Name: "b"},
	}}}
	err := podMustState([]corev1.ResourceName{"pods", "requests.cpu", "limits.memory", "limits.cpu"}, pod)
	if err == nil {
		t.Fatal("not refused")
	}
	if diff := cmp.Diff("must specify limits.cpu for: a,b; limits.memory for: b; requests.cpu for: b", err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestABalancerUsesANodePortForEachPortUnlessItWantsNone(t *testing.T) {
	no := false
	ports := []corev1.ServicePort{{Port: 80}, {Port: 443, NodePort: 30443}}
	for name, test := range map[string]struct {
		spec corev1.ServiceSpec
		want int
	}{
		"cluster IP":               {corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: ports}, 0},
		"node port":                {corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: ports}, 2},
		"balancer":                 {corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: ports}, 2},
		"balancer, only the named": {corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: ports, AllocateLoadBalancerNodePorts: &no}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nodePorts(&corev1.Service{Spec: test.spec}); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

package admission

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
)

func TestAPodCarriesTheLabelsOfWhereItsNodeIs(t *testing.T) {
	f := known(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{
		corev1.LabelTopologyZone: "z1", corev1.LabelTopologyRegion: "r1", corev1.LabelHostname: "n1",
	}}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "nowhere"}})
	binding := func(kind, node string) *corev1.Binding {
		return &corev1.Binding{Target: corev1.ObjectReference{Kind: kind, Name: node}}
	}
	pod := func(node string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{NodeName: node}}
	}
	there := map[string]string{corev1.LabelTopologyZone: "z1", corev1.LabelTopologyRegion: "r1"}
	for name, test := range map[string]struct {
		path string
		obj  metav1.Object
		want map[string]string
	}{
		"bound":                        {"/v1/pods/binding", binding("Node", "n1"), there},
		"bound to no Node":             {"/v1/pods/binding", binding("Rack", "n1"), nil},
		"bound to one that is no more": {"/v1/pods/binding", binding("Node", "gone"), nil},
		"bound to one without labels":  {"/v1/pods/binding", binding("Node", "nowhere"), nil},
		"made for a node":              {"/v1/pods", pod("n1", nil), there},
		"with labels of its own": {"/v1/pods", pod("n1", map[string]string{"app": "web", corev1.LabelTopologyZone: "mine"}),
			map[string]string{"app": "web", corev1.LabelTopologyZone: "z1", corev1.LabelTopologyRegion: "r1"}},
		"for no node yet":           {"/v1/pods", pod("", map[string]string{"app": "web"}), map[string]string{"app": "web"}},
		"a status of a bound Pod":   {"/v1/pods/status", pod("n1", nil), nil},
		"something with node names": {"/v1/configmaps", pod("n1", nil), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := topologyLabels(f).Admit(t.Context(), request(admission.Create, test.path, "shop", "web", test.obj.(runtime.Object), nil), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, test.obj.GetLabels()); diff != "" {
				t.Errorf("labels (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAPodIsNotGivenMoreThanItsNodeHas(t *testing.T) {
	room := corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")}}
	f := known(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelOSStable: "linux"}}, Status: room},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Status: room},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{corev1.LabelOSStable: "windows"}}, Status: room})
	pod := func(node, cpu, memory string, generation int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Generation: generation}, Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)},
		}}}}}
	}
	const head = `pods "web" is forbidden: `
	for name, test := range map[string]struct {
		path        string
		node        string
		cpu, memory string
		generation  int64
		says        string
		cause       metav1.CauseType
	}{
		"as much as there is":        {"/v1/pods/resize", "n1", "2", "1Gi", 2, "", ""},
		"on a node that says little": {"/v1/pods/resize", "plain", "2", "1Gi", 2, "", ""},
		"too much CPU":               {"/v1/pods/resize", "n1", "2001m", "1Gi", 2, head + "node didn't have enough allocatable resources: cpu, requested: 2001, allocatable: 2000", causeNodeCapacity},
		"too much of both": {"/v1/pods/resize", "n1", "3", "2Gi", 2,
			head + "node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824", causeNodeCapacity},
		"another system":        {"/v1/pods/resize", "other", "1", "1Gi", 2, head + `pod resize is only supported on linux nodes, node "other" is "windows"`, causeUnsupportedPlatform},
		"a node that is gone":   {"/v1/pods/resize", "gone", "1", "1Gi", 2, head + `node "gone" not found`, ""},
		"for no node yet":       {"/v1/pods/resize", "", "64", "1Ti", 2, "", ""},
		"nothing has changed":   {"/v1/pods/resize", "n1", "64", "1Ti", 1, "", ""},
		"another part of a Pod": {"/v1/pods/status", "n1", "64", "1Ti", 2, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := request(admission.Update, test.path, "shop", "web", pod(test.node, test.cpu, test.memory, test.generation), pod(test.node, "1", "1Gi", 1))
			err := resizeFits(f).Validate(t.Context(), a, nil)
			if said(err) != test.says {
				t.Errorf("got %q, want %q", said(err), test.says)
			}
			if test.cause != "" && !apierrors.HasStatusCause(err, test.cause) {
				t.Errorf("%v has not the cause %s", err, test.cause)
			}
		})
	}
}

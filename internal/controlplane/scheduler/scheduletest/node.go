package scheduletest

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// Node makes a Node of a line: "n1 cpu=4 memory=8Gi pods=110 gpu=1 zone=a labels=k:v taint=K~V:E cordoned image=I@SIZE".
func Node(t testing.TB, line string) *corev1.Node {
	t.Helper()
	words := strings.Fields(line)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: words[0], Labels: map[string]string{corev1.LabelHostname: words[0]}}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "cpu", "memory", "pods":
			n.Status.Allocatable[corev1.ResourceName(key)] = resource.MustParse(value)
		case "gpu":
			n.Status.Allocatable["example.com/gpu"] = resource.MustParse(value)
		case "zone":
			n.Labels[corev1.LabelTopologyZone] = value
		case "labels":
			for k, v := range podtest.Labels(value) {
				n.Labels[k] = v
			}
		case "taint":
			k, effect, _ := strings.Cut(value, ":")
			k, v, _ := strings.Cut(k, "~")
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: k, Value: v, Effect: corev1.TaintEffect(effect)})
		case "cordoned":
			n.Spec.Unschedulable = true
		case "image":
			i := strings.LastIndexByte(value, '@')
			size := resource.MustParse(value[i+1:])
			n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{value[:i]}, SizeBytes: size.Value()})
		default:
			t.Fatalf("node %s: no such word: %q", words[0], key)
		}
	}
	return n
}

// Budget makes a PodDisruptionBudget of a line: "NAME k:v ALLOWED".
func Budget(t testing.TB, line string) *policyv1.PodDisruptionBudget {
	t.Helper()
	words := strings.Fields(line)
	allowed, err := strconv.ParseInt(words[2], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: words[0]},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: podtest.Labels(words[1])}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: int32(allowed)},
	}
}

package metricsapi

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/registry/rest"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

type world struct {
	nodes []corev1.Node
	pods  []corev1.Pod
}

func (w world) Nodes(context.Context) ([]corev1.Node, error) { return w.nodes, nil }

func (w world) PodsIn(context.Context, string) ([]corev1.Pod, error) { return w.pods, nil }

func running(name, uid, node string, containers ...string) corev1.Pod {
	p := corev1.Pod{Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	p.Namespace, p.Name, p.UID = "shop", name, types.UID(uid)
	for _, c := range containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
	return p
}

func figure(nanoCores, bytes uint64) (*statsv1.CPUStats, *statsv1.MemoryStats) {
	return &statsv1.CPUStats{UsageNanoCores: &nanoCores}, &statsv1.MemoryStats{WorkingSetBytes: &bytes}
}

// report is a node's: the node itself, and one Pod with the containers named.
func report(t *testing.T, uid string, containers ...string) []byte {
	t.Helper()
	var s statsv1.Summary
	s.Node.CPU, s.Node.Memory = figure(250_000_000, 1<<30)
	pod := statsv1.PodStats{PodRef: statsv1.PodReference{UID: uid}}
	for _, name := range containers {
		c := statsv1.ContainerStats{Name: name}
		c.CPU, c.Memory = figure(2_000_000, 10<<20)
		pod.Containers = append(pod.Containers, c)
	}
	s.Pods = append(s.Pods, pod)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func node(name string) corev1.Node { return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }

func TestFiguresOfNodesThatAnswerAreShownAndTheOthersLeftOut(t *testing.T) {
	w := world{
		nodes: []corev1.Node{node("a"), node("silent")},
		pods:  []corev1.Pod{running("web", "1", "a", "web"), running("half", "2", "a", "web", "new"), running("lost", "3", "silent", "web")},
	}
	var asked atomic.Int32
	s := New(w, func(_ context.Context, n string) ([]byte, error) {
		if n == "silent" {
			return nil, errors.New("no route to host")
		}
		asked.Add(1)
		return report(t, "1", "web"), nil
	})
	obj, err := s["nodes"].(rest.Lister).List(t.Context(), &metainternalversion.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range obj.(*metrics.NodeMetricsList).Items {
		got = append(got, m.Name+" "+m.Usage.Cpu().String()+" "+m.Usage.Memory().String())
	}
	obj, err = s["pods"].(rest.Lister).List(t.Context(), &metainternalversion.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range obj.(*metrics.PodMetricsList).Items {
		got = append(got, m.Name+"/"+m.Containers[0].Name+" "+m.Containers[0].Usage.Cpu().String()+" "+m.Containers[0].Usage.Memory().String())
	}
	if diff := cmp.Diff([]string{"a 250m 1Gi", "web/web 2m 10Mi"}, got); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the node was asked %d times for two lists, want twice: two readings make a rate, which is then kept", n)
	}
	if _, err := s["nodes"].(rest.Getter).Get(t.Context(), "silent", nil); !apierrors.IsNotFound(err) {
		t.Errorf("figures of a node that does not answer: %v, want not found", err)
	}
}

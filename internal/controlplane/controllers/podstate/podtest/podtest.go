package podtest

import (
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// Now is the time at which test data is read.
var Now = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// Lines makes a Pod of each line that is not empty.
func Lines(t testing.TB, text string) []*corev1.Pod {
	t.Helper()
	var out []*corev1.Pod
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, Line(t, line))
		}
	}
	return out
}

// Line makes a Pod. The first word is its name, and its UID with "uid-" before it; the others are:
//
//	node=N          bound to N; its phase is then Running unless phase= says otherwise
//	phase=P         its phase; Pending by default
//	ready=D         ready since D ago; notready=D: not ready since D ago
//	age=D           created D ago
//	terminating     being deleted
//	labels=K:V,K:V  its labels
//	owner=Kind/N    controlled by N; orphan otherwise
//	cost=N          its pod-deletion-cost
//	restarts=N      restarts of its container
//	tolerate=K[:E[:S]] tolerates taints of key K, effect E, for S; may be repeated; "*" for any key
//	cpu=Q memory=Q  requests; gpu=Q of example.com/gpu
//	port=[IP:]N     host port; may be repeated
//	priority=N      its priority
//	select=K:V      node selector
//	image=I         its container's image
func Line(t testing.TB, line string) *corev1.Pod {
	t.Helper()
	words := strings.Fields(line)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: words[0], UID: types.UID("uid-" + words[0]), CreationTimestamp: metav1.NewTime(Now)},
		Spec:       corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		set(t, p, key, value)
	}
	return p
}

func set(t testing.TB, p *corev1.Pod, key, value string) {
	t.Helper()
	c := &p.Spec.Containers[0]
	switch key {
	case "node":
		p.Spec.NodeName = value
		p.Status.Phase = corev1.PodRunning
	case "phase":
		p.Status.Phase = corev1.PodPhase(value)
	case "ready", "notready":
		status := corev1.ConditionTrue
		if key == "notready" {
			status = corev1.ConditionFalse
		}
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: status, LastTransitionTime: ago(t, value)})
	case "age":
		p.CreationTimestamp = ago(t, value)
	case "terminating":
		p.DeletionTimestamp = &metav1.Time{Time: Now}
	case "labels":
		p.Labels = Labels(value)
	case "owner":
		kind, name, _ := strings.Cut(value, "/")
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID("uid-" + name), Controller: ptr.To(true)}}
	case "cost":
		p.Annotations = map[string]string{corev1.PodDeletionCost: value}
	case "restarts":
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", RestartCount: number(t, value)}}
	case "tolerate":
		p.Spec.Tolerations = append(p.Spec.Tolerations, toleration(t, value))
	case "cpu", "memory", "gpu":
		if c.Resources.Requests == nil {
			c.Resources.Requests = corev1.ResourceList{}
		}
		name := corev1.ResourceName(key)
		if key == "gpu" {
			name = "example.com/gpu"
		}
		c.Resources.Requests[name] = resource.MustParse(value)
	case "port":
		ip, port, ok := strings.Cut(value, ":")
		if !ok {
			ip, port = "", value
		}
		c.Ports = append(c.Ports, corev1.ContainerPort{HostIP: ip, HostPort: number(t, port), ContainerPort: number(t, port), Protocol: corev1.ProtocolTCP})
	case "priority":
		p.Spec.Priority = ptr.To(number(t, value))
	case "select":
		p.Spec.NodeSelector = Labels(value)
	case "image":
		c.Image = value
	default:
		t.Fatalf("Pod %s: no such word: %q", p.Name, key)
	}
}

// Labels reads "k:v,k:v".
func Labels(s string) map[string]string {
	out := map[string]string{}
	for _, pair := range strings.Split(s, ",") {
		k, v, _ := strings.Cut(pair, ":")
		out[k] = v
	}
	return out
}

func toleration(t testing.TB, s string) corev1.Toleration {
	t.Helper()
	parts := strings.Split(s, ":")
	tol := corev1.Toleration{Operator: corev1.TolerationOpExists}
	if parts[0] != "*" {
		tol.Key = parts[0]
	}
	if len(parts) > 1 {
		tol.Effect = corev1.TaintEffect(parts[1])
	}
	if len(parts) > 2 {
		d, err := time.ParseDuration(parts[2])
		if err != nil {
			t.Fatal(err)
		}
		tol.TolerationSeconds = ptr.To(int64(d / time.Second))
	}
	return tol
}

func ago(t testing.TB, s string) metav1.Time {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return metav1.NewTime(Now.Add(-d))
}

func number(t testing.TB, s string) int32 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

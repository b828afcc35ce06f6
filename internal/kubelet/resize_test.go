package kubelet_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// resize asks for other resources of a Pod's container c.
func (h *host) resize(podName, resources string) {
	h.t.Helper()
	body := fmt.Sprintf(`{"spec":{"containers":[{"name":"c","resources":%s}]}}`, resources)
	if _, err := h.client.CoreV1().Pods("default").Patch(h.ctx(), podName, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "resize"); err != nil {
		h.t.Fatal(err)
	}
}

func condition(p *v1.Pod, t v1.PodConditionType) *v1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// has says that a Pod's container c runs with a limit, and that no resize is under way.
func has(name v1.ResourceName, limit string, restarts int32) func(*v1.Pod) bool {
	return func(p *v1.Pod) bool {
		c := p.Status.ContainerStatuses[0]
		if c.Resources == nil || c.State.Running == nil || condition(p, v1.PodResizePending) != nil || condition(p, v1.PodResizeInProgress) != nil {
			return false
		}
		q := c.Resources.Limits[name]
		return q.String() == limit && c.RestartCount == restarts
	}
}

// podLimit is the limit of memory that the kernel has for a Pod as a whole.
func (h *host) podLimit(p *v1.Pod) string {
	h.t.Helper()
	for _, file := range []string{"/sys/fs/cgroup/memory" + h.cgroup() + "/pod" + string(p.UID) + "/memory.limit_in_bytes", "/sys/fs/cgroup" + h.cgroup() + "/pod" + string(p.UID) + "/memory.max"} {
		if b, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	h.t.Fatal("the Pod has no control group")
	return ""
}

func TestARunningPodIsResized(t *testing.T) {
	h := start(t)
	limit := func(podName string) string {
		t.Helper()
		return strings.TrimSpace(h.exec(podName, "sh", "-c", "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max"))
	}
	h.create("inplace", `
containers:
- {name: c, command: [sleep, "1000"], resources: {requests: {cpu: 20m, memory: 20Mi}, limits: {cpu: 50m, memory: 40Mi}}}
`)
	before := h.wait("inplace", "ready", ready)
	if got := before.Status.ContainerStatuses[0]; got.Resources == nil || got.Resources.Limits.Memory().String() != "40Mi" || got.AllocatedResources.Cpu().String() != "20m" {
		t.Errorf("reported: %+v", got)
	}
	h.resize("inplace", `{"requests":{"cpu":"30m","memory":"30Mi"},"limits":{"cpu":"60m","memory":"60Mi"}}`)
	after := h.wait("inplace", "resized", has(v1.ResourceMemory, "60Mi", 0))
	if was, is := before.Status.ContainerStatuses[0].ContainerID, after.Status.ContainerStatuses[0].ContainerID; was != is {
		t.Errorf("the container was replaced: %s, %s", was, is)
	}
	if got, want := limit("inplace"), fmt.Sprint(60<<20); got != want {
		t.Errorf("the kernel's limit is %s, want %s", got, want)
	}
	h.event("inplace", "ResizeCompleted")

	h.run("a limit below what is used is an error, until it is taken back", func(t *testing.T) {
		h.resize("inplace", `{"requests":{"memory":"4Ki"},"limits":{"memory":"4Ki"}}`)
		p := h.wait("inplace", "in trouble", func(p *v1.Pod) bool {
			c := condition(p, v1.PodResizeInProgress)
			return c != nil && c.Reason == v1.PodReasonError
		})
		if c := condition(p, v1.PodResizeInProgress); !strings.Contains(c.Message, "below current usage") {
			t.Errorf("%s", c.Message)
		}
		h.killNode()
		h.startNode()
		h.eventually("the next daemon to refuse it as well", func() (bool, string) {
			list, err := h.client.CoreV1().Events("default").List(h.ctx(), metav1.ListOptions{FieldSelector: "reason=ResizeError"})
			if err != nil {
				return false, err.Error()
			}
			return len(list.Items) == 2, fmt.Sprint(len(list.Items))
		})
		if p := h.get("inplace"); !ready(p) || p.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("after the restart: %+v", p.Status)
		}
		if got := h.podLimit(p); got != fmt.Sprint(60<<20) {
			t.Errorf("the kernel's limit of the Pod is %s", got)
		}
		h.resize("inplace", `{"requests":{"memory":"30Mi"},"limits":{"memory":"50Mi"}}`)
		h.wait("inplace", "resized", has(v1.ResourceMemory, "50Mi", 0))
	})
	h.run("a resize is remembered by the next daemon, also one that came while there was none", func(t *testing.T) {
		h.killNode()
		h.resize("inplace", `{"requests":{"memory":"30Mi"},"limits":{"memory":"70Mi"}}`)
		h.startNode()
		p := h.wait("inplace", "resized", has(v1.ResourceMemory, "70Mi", 0))
		if got := p.Status.ContainerStatuses[0].AllocatedResources.Cpu().String(); got != "30m" {
			t.Errorf("allocated: %s", got)
		}
		if got, want := limit("inplace"), fmt.Sprint(70<<20); got != want {
			t.Errorf("the kernel's limit is %s, want %s", got, want)
		}
	})
	h.run("a container that asks for it is started anew", func(t *testing.T) {
		h.create("anew", `
restartPolicy: OnFailure
terminationGracePeriodSeconds: 5
containers:
- name: c
  command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
  resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
  resources: {requests: {memory: 20Mi}, limits: {memory: 40Mi}}
`)
		h.wait("anew", "ready", ready)
		h.resize("anew", `{"limits":{"memory":"30Mi"}}`)
		h.wait("anew", "resized", has(v1.ResourceMemory, "30Mi", 1))
		if got, want := limit("anew"), fmt.Sprint(30<<20); got != want {
			t.Errorf("the kernel's limit is %s, want %s", got, want)
		}
		h.delete("anew")
	})
	h.run("what does not fit now waits for room", func(t *testing.T) {
		node, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		most := node.Status.Allocatable.Cpu().MilliValue() - 500
		h.create("large", fmt.Sprintf(`
terminationGracePeriodSeconds: 0
containers:
- {name: c, command: [sleep, "1000"], resources: {requests: {cpu: %dm}}}
`, most))
		h.wait("large", "ready", ready)
		h.resize("inplace", `{"requests":{"cpu":"600m"},"limits":{"cpu":"700m"}}`)
		p := h.wait("inplace", "deferred", func(p *v1.Pod) bool { return condition(p, v1.PodResizePending) != nil })
		if c := condition(p, v1.PodResizePending); c.Reason != v1.PodReasonDeferred || !strings.Contains(c.Message, "cpu") {
			t.Errorf("%+v", c)
		}
		h.delete("large")
		h.wait("inplace", "resized", has(v1.ResourceCPU, "700m", 0))
	})
	h.delete("inplace")
	h.waitGone("inplace")
}

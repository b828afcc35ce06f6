package kubelet_test

import (
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/gitopsd/gitopsd/internal/kubelet/register"
)

// evicted waits for a Pod's eviction and checks what is said of it.
func (h *host) evicted(podName, text string) {
	h.t.Helper()
	p := h.wait(podName, "evicted", phase(v1.PodFailed))
	if p.Status.Reason != "Evicted" || !strings.Contains(p.Status.Message, text) {
		h.t.Errorf("%s: %q, want Evicted: %q", p.Status.Reason, p.Status.Message, text)
	}
	if c := condition(p, v1.DisruptionTarget); c == nil || c.Reason != v1.PodReasonTerminationByKubelet {
		h.t.Errorf("the Pod's conditions: %+v", p.Status.Conditions)
	}
	h.event(podName, "Evicted")
	h.delete(podName)
	h.waitGone(podName)
}

func TestPodsAreHeldToTheirLimitsOfDisk(t *testing.T) {
	h := start(t)
	h.create("volume", `
containers:
- {name: c, command: [sh, -c, "dd if=/dev/zero of=/v/file bs=64k count=32; sleep 1000"], volumeMounts: [{name: v, mountPath: /v}]}
volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]
`)
	h.create("layer", `
containers:
- {name: c, command: [sh, -c, "dd if=/dev/zero of=/file bs=64k count=64; sleep 1000"], resources: {limits: {ephemeral-storage: 2Mi}}}
- {name: d, command: [sleep, "1000"], resources: {limits: {ephemeral-storage: 8Mi}}}
`)
	h.create("log", `
containers:
- {name: c, command: [sh, -c, "yes a rather long line of a log that is written without an end | head -c 3000000; sleep 1000"], resources: {limits: {ephemeral-storage: 1Mi}}}
`)
	h.create("within", `
containers:
- {name: c, command: [sh, -c, "dd if=/dev/zero of=/v/file bs=64k count=8; sleep 1000"], resources: {limits: {ephemeral-storage: 2Mi}}, volumeMounts: [{name: v, mountPath: /v}]}
volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]
`)
	h.evicted("volume", `Usage of EmptyDir volume "v" exceeds the limit "1Mi"`)
	h.evicted("layer", `Container c exceeded its local ephemeral storage limit "2Mi"`)
	h.evicted("log", `Pod ephemeral local storage usage exceeds the total limit of containers 1Mi`)
	if p := h.get("within"); p.Status.Phase != v1.PodRunning {
		t.Errorf("a Pod within its limits is %s: %s", p.Status.Phase, p.Status.Message)
	}
}

func TestPodsAreEndedWhenMemoryIsShort(t *testing.T) {
	// More than there is: short from the beginning, and for ever. Not a hard threshold: of that, nothing would be offered to Pods.
	h := start(t, "--eviction-soft", fmt.Sprintf("memory.available<%d", register.Meminfo()["MemTotal"]*2), "--eviction-soft-grace-period", "memory.available=1s")
	h.eventually("the Node to tell of it", func() (bool, string) {
		n, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range n.Status.Conditions {
			if c.Type == v1.NodeMemoryPressure {
				return c.Status == v1.ConditionTrue && c.Reason == "KubeletHasInsufficientMemory", c.Message
			}
		}
		return false, "no such condition"
	})
	// Pods that name their node: the scheduler, which heeds the taint, is not asked.
	h.create("besteffort", `
nodeName: n1
containers: [{name: c, command: [sleep, "1000"]}]
`)
	p := h.wait("besteffort", "turned away", phase(v1.PodFailed))
	if p.Status.Reason != "Evicted" || !strings.Contains(p.Status.Message, "The node had condition: [MemoryPressure]") {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	h.create("burstable", `
nodeName: n1
terminationGracePeriodSeconds: 600
containers: [{name: c, command: [sh, -c, "trap '' TERM; sleep 1000"], resources: {requests: {memory: 64Ki}}}]
`)
	h.evicted("burstable", "The node was low on resource: memory. Threshold quantity: ")
	h.eventually("the Node's event", func() (bool, string) {
		list, err := h.client.CoreV1().Events("default").List(h.ctx(), metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("involvedObject.name", "n1").String()})
		if err != nil {
			return false, err.Error()
		}
		for _, e := range list.Items {
			if e.Reason == "EvictionThresholdMet" && e.Message == "Attempting to reclaim memory" {
				return true, ""
			}
		}
		return false, fmt.Sprint(len(list.Items))
	})
}

func TestPodsAreEndedWhenTheDiskIsFull(t *testing.T) {
	h := start(t, "--eviction-hard", "nodefs.available<100%", "--eviction-pressure-transition-period", "0s")
	h.create("refused", `
nodeName: n1
containers: [{name: c, command: [sleep, "1000"], resources: {requests: {memory: 1Mi}}}]
`)
	p := h.wait("refused", "turned away", phase(v1.PodFailed))
	if p.Status.Reason != "Evicted" || !strings.Contains(p.Status.Message, "The node had condition: [DiskPressure]") {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
}

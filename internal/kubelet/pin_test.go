package kubelet_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestAContainerHasWholeProcessorsForItself(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("SKIPPED: this machine has one processor, which cannot be given to anybody alone")
	}
	h := start(t, "--cpu-manager-policy", "static", "--system-reserved", "cpu=100m")
	allowed := func(podName string) string {
		t.Helper()
		return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(h.exec(podName, "grep", "Cpus_allowed_list", "/proc/1/status")), "Cpus_allowed_list:"))
	}
	h.create("shares", `
terminationGracePeriodSeconds: 0
containers: [{name: c, command: [sleep, "1000"], resources: {requests: {memory: 20Mi}, limits: {memory: 40Mi}}}]
`)
	h.wait("shares", "ready", ready)
	// A resize that cannot be made now must not be by the way when it is moved to other processors.
	h.resize("shares", `{"requests":{"memory":"4Ki"},"limits":{"memory":"4Ki"}}`)
	h.wait("shares", "in trouble", func(p *v1.Pod) bool {
		c := condition(p, v1.PodResizeInProgress)
		return c != nil && c.Reason == v1.PodReasonError
	})
	all := allowed("shares")
	h.create("own", `
terminationGracePeriodSeconds: 0
containers: [{name: c, command: [sleep, "1000"], resources: {limits: {cpu: 1, memory: 20Mi}}}]
`)
	h.wait("own", "ready", ready)
	own := allowed("own")
	if own != "1" { // the first is reserved
		t.Errorf("it may run on %s", own)
	}
	moved := func(what, want string, not bool) {
		t.Helper()
		h.eventually(what, func() (bool, string) {
			got := allowed("shares")
			return (got == want) != not, got
		})
	}
	moved("the other to leave that processor", all, true)
	left := allowed("shares")
	limit := strings.TrimSpace(h.exec("shares", "sh", "-c", "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max"))
	if want := fmt.Sprint(40 << 20); limit != want {
		t.Errorf("the kernel's limit is %s, want %s", limit, want)
	}
	h.resize("shares", `{"requests":{"memory":"20Mi"},"limits":{"memory":"40Mi"}}`)
	h.wait("shares", "as it was", has(v1.ResourceMemory, "40Mi", 0))

	h.run("the next daemon knows", func(t *testing.T) {
		h.killNode()
		h.startNode()
		h.create("late", `
terminationGracePeriodSeconds: 0
containers: [{name: c, command: [sleep, "1000"]}]
`)
		h.wait("late", "ready", ready)
		if got := allowed("late"); got != left {
			t.Errorf("a new one may run on %s, want %s", got, left)
		}
		if got := allowed("own"); got != own {
			t.Errorf("it may run on %s, not on %s any more", got, own)
		}
		h.delete("late")
	})
	h.run("it cannot be resized", func(t *testing.T) {
		h.resize("own", `{"requests":{"cpu":"500m"},"limits":{"cpu":"500m"}}`)
		p := h.wait("own", "refused", func(p *v1.Pod) bool { return condition(p, v1.PodResizePending) != nil })
		if c := condition(p, v1.PodResizePending); c.Reason != v1.PodReasonInfeasible || !strings.Contains(c.Message, "static") {
			t.Errorf("%+v", c)
		}
	})
	h.delete("own")
	moved("it to be everybody's again", all, false)
	h.delete("shares")
}

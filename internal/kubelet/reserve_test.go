package kubelet_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPodsAreHeldToWhatIsNotReserved(t *testing.T) {
	h := start(t, "--system-reserved", "cpu=200m,memory=100Mi,pid=100", "--kube-reserved", "cpu=100m,memory=200Mi", "--pod-pids-limit", "20")
	n, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Status.Capacity.Cpu().MilliValue() - n.Status.Allocatable.Cpu().MilliValue(); got != 300 {
		t.Errorf("%dm of cpu are kept from Pods", got)
	}
	if got := n.Status.Capacity.Memory().Value() - n.Status.Allocatable.Memory().Value(); got != 350<<20 { // 50Mi of them by this test's threshold
		t.Errorf("%d bytes of memory are kept from Pods", got)
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/memory", h.cgroup(), "memory.limit_in_bytes"))
		if err != nil {
			t.Fatal(err)
		}
		limit, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if want := n.Status.Capacity.Memory().Value() - 300<<20; limit != want {
			t.Errorf("all Pods are limited to %d bytes, want %d", limit, want)
		}
	}

	h.run("a Pod has so many processes and no more", func(t *testing.T) {
		h.create("forks", `
restartPolicy: Never
containers: [{name: c, command: [sh, -c, "for i in $(seq 40); do sleep 100 & done; echo all of them; sleep 100"]}]
`)
		p := h.wait("forks", "over", phase(v1.PodFailed))
		if out := h.logs("forks", v1.PodLogOptions{}); strings.Contains(out, "all of them") || !strings.Contains(out, "fork") {
			t.Errorf("%s, %+v", out, p.Status.ContainerStatuses[0].State)
		}
		h.delete("forks")
	})
	h.run("memory that ran out is told of, whichever process it was", func(t *testing.T) {
		h.create("child", `
restartPolicy: Never
containers: [{name: c, command: [sh, -c, "dd if=/dev/zero of=/dev/null bs=60M count=1; exit 3"], resources: {limits: {memory: 20Mi}}}]
`)
		p := h.wait("child", "over", phase(v1.PodFailed))
		if s := p.Status.ContainerStatuses[0].State.Terminated; s == nil || s.Reason != "OOMKilled" || s.ExitCode != 3 {
			t.Errorf("%+v", s)
		}
		h.create("itself", `
restartPolicy: Never
containers: [{name: c, command: [sh, -c, "exec dd if=/dev/zero of=/dev/null bs=60M count=1"], resources: {limits: {memory: 20Mi}}}]
`)
		p = h.wait("itself", "over", phase(v1.PodFailed))
		if s := p.Status.ContainerStatuses[0].State.Terminated; s == nil || s.Reason != "OOMKilled" || s.ExitCode != 137 {
			t.Errorf("%+v", s)
		}
		h.delete("child")
		h.delete("itself")
	})
	h.run("a volume of huge pages", func(t *testing.T) {
		if _, ok := n.Status.Capacity["hugepages-2Mi"]; !ok {
			t.Skip("SKIPPED: this kernel has no pages of 2Mi")
		}
		h.create("huge", `
restartPolicy: Never
containers: [{name: c, command: [sh, -c, "grep /huge /proc/mounts"], volumeMounts: [{name: v, mountPath: /huge}], resources: {requests: {memory: 1Mi}}}]
volumes: [{name: v, emptyDir: {medium: HugePages-2Mi}}]
`)
		h.wait("huge", "over", phase(v1.PodSucceeded))
		if out := h.logs("huge", v1.PodLogOptions{}); !strings.Contains(out, "hugetlbfs") || !strings.Contains(out, "pagesize=2M") {
			t.Errorf("mounted: %s", out)
		}
		h.delete("huge")
	})
}

package kubelet_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/test/logind"
)

// shutdownCommand is `node shutdown`, as somebody types it.
func (h *host) shutdownCommand() (string, error) {
	out, err := exec.Command(filepath.Join(os.Getenv(dirVariable), "node"), "shutdown", "--data-dir", filepath.Join(h.dir, "n")).CombinedOutput()
	return string(out), err
}

// endOf is when a Pod's container had ended, and checks what the API says of a Pod that a shutdown ended.
func (h *host) endOf(podName string) (time.Time, int32) {
	h.t.Helper()
	p := h.get(podName)
	if p.Status.Phase != v1.PodFailed || p.Status.Reason != "Terminated" || p.Status.Message != "Pod was terminated in response to imminent node shutdown." {
		h.t.Errorf("Pod %s is %s: %s: %s", podName, p.Status.Phase, p.Status.Reason, p.Status.Message)
	}
	disrupted := false
	for _, c := range p.Status.Conditions {
		if c.Type == v1.DisruptionTarget {
			disrupted = c.Status == v1.ConditionTrue && c.Reason == "TerminationByKubelet"
		}
	}
	if !disrupted {
		h.t.Errorf("Pod %s has the conditions %+v, want DisruptionTarget of TerminationByKubelet", podName, p.Status.Conditions)
	}
	ended := p.Status.ContainerStatuses[0].State.Terminated
	if ended == nil {
		h.t.Fatalf("Pod %s is reported to be over while its container is in the state %+v", podName, p.Status.ContainerStatuses[0].State)
	}
	return ended.FinishedAt.Time, ended.ExitCode
}

// Two Pods that take a moment to end, one of them critical, and one that does not listen.
func (h *host) populate() {
	h.t.Helper()
	const slow = `command: [sh, -c, 'trap "sleep 2; exit 7" TERM; sleep 1000 & wait']`
	h.create("web", `{terminationGracePeriodSeconds: 600, containers: [{name: c, `+slow+`}]}`)
	h.create("deaf", `{terminationGracePeriodSeconds: 600, containers: [{name: c, command: [sh, -c, 'trap "" TERM; while :; do sleep 1; done']}]}`)
	h.create("dns", `{terminationGracePeriodSeconds: 600, priorityClassName: system-node-critical, containers: [{name: c, `+slow+`}]}`)
	for _, name := range []string{"web", "deaf", "dns"} {
		h.wait(name, "to be ready", ready)
	}
}

// checkOrder checks how the Pods of populate have ended: within six seconds the regular ones, the critical one after them.
func (h *host) checkOrder() {
	h.t.Helper()
	web, code := h.endOf("web")
	if code != 7 {
		h.t.Errorf("web ended with %d, want 7: it was not let to end", code)
	}
	deaf, code := h.endOf("deaf")
	if code != 137 {
		h.t.Errorf("deaf ended with %d, want 137", code)
	}
	dns, code := h.endOf("dns")
	if code != 7 {
		h.t.Errorf("dns ended with %d, want 7: it was not let to end", code)
	}
	if !web.Before(deaf) || !deaf.Before(dns) {
		h.t.Errorf("web ended at %s, deaf at %s, dns at %s; want this order", web, deaf, dns)
	}
}

func (h *host) waitShuttingDown() {
	h.t.Helper()
	h.eventually("the node to say that it shuts down, and its taint", func() (bool, string) {
		ok, message := h.nodeReady()
		n, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		tainted := false
		for _, t := range n.Spec.Taints {
			tainted = tainted || t.Key == v1.TaintNodeNotReady && t.Effect == v1.TaintEffectNoSchedule
		}
		return !ok && message == "node is shutting down" && tainted, message
	})
}

// nodeEvent waits for an event that `kubectl describe node` shows.
func (h *host) nodeEvent(reason string) {
	h.t.Helper()
	h.eventually("an event "+reason+" of the node", func() (bool, string) {
		of := fields.Set{"involvedObject.kind": "Node", "involvedObject.name": "n1", "involvedObject.uid": "n1", "reason": reason}
		list, err := h.client.CoreV1().Events("").List(h.ctx(), metav1.ListOptions{FieldSelector: of.AsSelector().String()})
		return err == nil && len(list.Items) > 0, fmt.Sprint(err)
	})
}

func TestAShutdownEndsPodsInOrder(t *testing.T) {
	h := start(t, "--shutdown-grace-period", "12s", "--shutdown-grace-period-critical-pods", "6s")
	h.populate()
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		text, err := h.shutdownCommand()
		done <- answer{text, err}
	}()
	h.waitShuttingDown()
	h.nodeEvent("Shutdown")
	h.nodeEvent("NodeNotReady")
	h.create("late", `{nodeName: n1, containers: [{name: c, command: [sleep, "1000"]}]}`)
	late := h.wait("late", "to be turned away", phase(v1.PodFailed))
	if late.Status.Reason != "NodeShutdown" || late.Status.Message != "Pod was rejected as the node is shutting down." {
		t.Errorf("late: %s: %s", late.Status.Reason, late.Status.Message)
	}
	h.wait("web", "not to be ready", func(p *v1.Pod) bool { return !ready(p) })
	a := <-done
	if a.err != nil || !strings.HasPrefix(a.text, "3 of 3 Pods have ended, in ") {
		t.Errorf("node shutdown said %q, %v", a.text, a.err)
	}
	h.checkOrder()
	h.waitShuttingDown() // still

	// The host is back.
	h.killNode()
	h.startNode()
	h.eventually("the node to be Ready", h.nodeReady)
	h.create("next", `{containers: [{name: c, command: [sleep, "1000"]}]}`)
	h.wait("next", "to be ready", ready)
	h.checkOrder()
}

func TestAShutdownThatLogindTellsOfEndsPodsInOrder(t *testing.T) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("SKIPPED: following logind needs a bus; install dbus-daemon")
	}
	dir, err := os.MkdirTemp("/tmp", "ld")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := logind.Start(t, dir, time.Minute)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", l.Address)
	h := start(t, "--shutdown-grace-period-by-pod-priority", "0=6s,2000000000=6s")
	h.populate()
	h.eventually("the node to hold a lock", func() (bool, string) { return l.Held() == 1, "" })
	l.Prepare(true)
	h.eventually("the node to release it", func() (bool, string) { return l.Held() == 0, "" })
	h.checkOrder()
}

func TestANodeWithoutPeriodsEndsNoPodForAShutdown(t *testing.T) {
	h := start(t)
	h.create("p", `{containers: [{name: c, command: [sleep, "1000"]}]}`)
	before := identity(h.wait("p", "to be ready", ready))
	h.nodeEvent("NodeReady")
	h.cordon(true)
	h.nodeEvent("NodeNotSchedulable")
	h.cordon(false)
	h.nodeEvent("NodeSchedulable")
	text, err := h.shutdownCommand()
	if err == nil || !strings.Contains(text, "start it with --shutdown-grace-period") {
		t.Errorf("node shutdown said %q, %v", text, err)
	}
	if after := identity(h.get("p")); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("the Pod is now %v, was %v", after, before)
	}
}

func (h *host) cordon(on bool) {
	h.t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on)
	if _, err := h.client.CoreV1().Nodes().Patch(h.ctx(), "n1", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

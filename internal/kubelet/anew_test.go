package kubelet_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

func TestAContainerCanHaveAllStartedAnew(t *testing.T) {
	h := start(t)
	h.create("anew", `
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  volumes: [{name: own, emptyDir: {}}]
  initContainers:
  - {name: i, command: [sh, -c, 'echo x >> /own/inits'], volumeMounts: [{name: own, mountPath: /own}]}
  containers:
  - name: c
    command: [sh, -c, 'if test ! -e /own/once; then touch /own/once; sleep 1; exit 42; fi; sleep 1000']
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
    volumeMounts: [{name: own, mountPath: /own}]
  - {name: d, command: [sleep, "1000"], volumeMounts: [{name: own, mountPath: /own}]}`)
	again := func(p *v1.Pod) bool {
		s := p.Status
		return ready(p) && s.InitContainerStatuses[0].RestartCount == 1 && s.ContainerStatuses[0].RestartCount == 1 && s.ContainerStatuses[1].RestartCount == 1
	}
	p := h.wait("anew", "to be ready again", again)
	if out := h.exec("anew:d", "cat", "/own/inits"); out != "x\nx\n" {
		t.Errorf("its init containers wrote %q", out)
	}
	h.event("anew", "RestartAllContainers")
	h.killNode()
	h.startNode()
	h.create("other", `{containers: [{name: c, command: [sleep, "1000"]}]}`)
	h.wait("other", "to be ready", ready)
	if now := h.get("anew"); !again(now) || now.Status.ContainerStatuses[0].ContainerID != p.Status.ContainerStatuses[0].ContainerID {
		t.Error("another daemon started the containers anew once more")
	}
}

func TestADaemonKilledAmidThatStartsAllAnewOnce(t *testing.T) {
	h := start(t)
	spec := func(linger string) string {
		return `
  restartPolicy: Never
  terminationGracePeriodSeconds: 20
  volumes: [{name: own, emptyDir: {}}]
  initContainers:
  - {name: i, command: [sh, -c, 'echo x >> /own/inits'], volumeMounts: [{name: own, mountPath: /own}]}
  containers:
  - name: c
    command: [sh, -c, 'if test ! -e /own/once; then touch /own/once; sleep 1; exit 42; fi; sleep 1000']
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
    volumeMounts: [{name: own, mountPath: /own}]
  - {name: d, command: [sh, -c, 'trap "touch /own/asked; sleep ` + linger + `; exit 7" TERM; while :; do sleep 0.1; done'], volumeMounts: [{name: own, mountPath: /own}]}`
	}
	// The container that is ended for it ends while no daemon runs, or only afterwards.
	for name, linger := range map[string]string{"meanwhile": "0.5", "afterwards": "6"} {
		p := h.create(name, spec(linger))
		own := filepath.Join(h.dir, "n", "pods", string(p.UID), "volumes")
		h.eventually("a container to be asked to end", func() (bool, string) {
			found, err := filepath.Glob(filepath.Join(own, "*", "asked"))
			return len(found) == 1, fmt.Sprint(found, err)
		})
		h.killNode()
		time.Sleep(2 * time.Second)
		h.startNode()
		h.wait(name, "to be ready again", func(p *v1.Pod) bool {
			s := p.Status
			return ready(p) && s.InitContainerStatuses[0].RestartCount == 1 && s.ContainerStatuses[0].RestartCount == 1 && s.ContainerStatuses[1].RestartCount == 1
		})
		if out := h.exec(name+":d", "cat", "/own/inits"); out != "x\nx\n" {
			t.Errorf("%s: its init containers wrote %q", name, out)
		}
	}
}

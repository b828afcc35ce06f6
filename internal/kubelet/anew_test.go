package kubelet_test

import (
	"testing"

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

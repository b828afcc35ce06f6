package kubelet_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// output waits until a Pod's containers have ended, and gives what the first one wrote.
func (h *host) output(podName string) string {
	h.t.Helper()
	h.wait(podName, "to end", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodSucceeded || p.Status.Phase == v1.PodFailed })
	return h.logs(podName, v1.PodLogOptions{})
}

func TestPodsAreConfinedAsTheyAsk(t *testing.T) {
	h := start(t, "--allowed-unsafe-sysctls", "kernel.msg*")

	h.run("kernel parameters that are safe or allowed are set, others are refused", func(t *testing.T) {
		h.create("sysctls", `{restartPolicy: Never, securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "0"}, {name: kernel.msgmax, value: "9000"}]},
containers: [{name: c, command: [cat, /proc/sys/net/ipv4/tcp_syncookies, /proc/sys/kernel/msgmax]}]}`)
		if out := h.output("sysctls"); out != "0\n9000\n" {
			t.Errorf("the container sees %q", out)
		}
		h.create("forbidden", `{nodeName: n1, restartPolicy: Never, securityContext: {sysctls: [{name: net.core.somaxconn, value: "9"}]}, containers: [{name: c}]}`)
		p := h.wait("forbidden", "to be turned away", phase(v1.PodFailed))
		if p.Status.Reason != "SysctlForbidden" || !strings.Contains(p.Status.Message, "--allowed-unsafe-sysctls") {
			t.Errorf("its status says %s: %s", p.Status.Reason, p.Status.Message)
		}
		if len(p.Status.ContainerStatuses) > 0 {
			t.Errorf("clients show what its containers are said to wait for: %v", p.Status.ContainerStatuses)
		}
		h.event("forbidden", "SysctlForbidden")
	})

	h.run("a profile that the host cannot enforce is refused", func(t *testing.T) {
		if _, err := os.Stat("/sys/module/apparmor"); err == nil {
			t.Skip("this host has AppArmor")
		}
		h.create("apparmor", `{nodeName: n1, containers: [{name: c, securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}`)
		p := h.wait("apparmor", "to be turned away", phase(v1.PodFailed))
		if p.Status.Reason != "AppArmor" || !strings.Contains(p.Status.Message, "AppArmor is not enabled on the host") {
			t.Errorf("its status says %s: %s", p.Status.Reason, p.Status.Message)
		}
	})

	h.run("a Pod that names a node which its selector does not is refused", func(t *testing.T) {
		h.create("elsewhere", `{nodeName: n1, nodeSelector: {disk: ssd}, containers: [{name: c}]}`)
		if p := h.wait("elsewhere", "to be turned away", phase(v1.PodFailed)); p.Status.Reason != "NodeAffinity" {
			t.Errorf("its status says %s: %s", p.Status.Reason, p.Status.Message)
		}
	})

	h.run("a filter of system calls from a file of the node", func(t *testing.T) {
		dir := filepath.Join(h.dir, "n", "seccomp", "mine")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "nomkdir.json"), []byte(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		pod := func(profile string) string {
			return `{restartPolicy: Never, containers: [{name: c, command: [sh, -c, 'busybox mkdir /tmp/x; grep Seccomp: /proc/self/status'], securityContext: {seccompProfile: ` + profile + `}}]}`
		}
		h.create("filtered", pod(`{type: Localhost, localhostProfile: mine/nomkdir.json}`))
		if out := h.output("filtered"); !strings.Contains(out, "No space left on device") || !strings.Contains(out, "Seccomp:\t2") {
			t.Errorf("it says %q", out)
		}
		h.create("default", pod(`{type: RuntimeDefault}`))
		if out := h.output("default"); out != "Seccomp:\t2\n" {
			t.Errorf("it says %q", out)
		}
		h.create("absent", pod(`{type: Localhost, localhostProfile: none.json}`))
		p := h.wait("absent", "to wait", waiting("CreateContainerConfigError"))
		if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, filepath.Join(h.dir, "n", "seccomp")) {
			t.Errorf("it says %s", m)
		}
		h.delete("absent")
	})

	h.run("groups are the image's too, unless it is strict, and are in the status", func(t *testing.T) {
		for policy, want := range map[string][]int64{"Merge": {102, 300, 4000}, "Strict": {102, 4000}} {
			name := strings.ToLower(policy)
			h.create(name, `{restartPolicy: Never, securityContext: {runAsUser: 101, supplementalGroups: [4000], supplementalGroupsPolicy: `+policy+`}, containers: [{name: c, command: [id, -G]}]}`)
			out := h.output(name)
			u := h.get(name).Status.ContainerStatuses[0].User
			if u == nil || u.Linux.UID != 101 || u.Linux.GID != 102 || !slices.Equal(u.Linux.SupplementalGroups, want) {
				t.Errorf("%s: the status says %+v", policy, u)
			}
			if (strings.Contains(out, "300")) != (policy == "Merge") || !strings.Contains(out, "4000") {
				t.Errorf("%s: id says %q", policy, out)
			}
		}
	})
}

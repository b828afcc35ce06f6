package kubelet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// everything is what a Pod of the test below mounts, in the form of a spec's fields.
const everything = `
  volumes:
  - {name: own, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
  - {name: config, configMap: {name: settings}}
  - {name: host, hostPath: {path: %s}}
  - {name: image, image: {reference: ` + testImage + `}}
  - {name: down, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}`

const everywhere = `
    volumeMounts:
    - {name: own, mountPath: /own}
    - {name: own, mountPath: /part, subPath: part}
    - {name: memory, mountPath: /memory}
    - {name: config, mountPath: /config, readOnly: true}
    - {name: config, mountPath: /key, subPath: key}
    - {name: host, mountPath: /host}
    - {name: host, mountPath: /read, readOnly: true}
    - {name: image, mountPath: /image}
    - {name: image, mountPath: /bin2, subPath: bin}
    - {name: down, mountPath: /down}`

func TestPodsHaveUserNamespacesOfTheirOwn(t *testing.T) {
	h := start(t)
	shared := filepath.Join(h.dir, "shared")
	if err := os.MkdirAll(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shared, "of-1000"), []byte("theirs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(shared, "of-1000"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.CoreV1().ConfigMaps("default").Create(h.ctx(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"key": "value\n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	volumes := fmt.Sprintf(everything, shared)

	h.run("root in it is nobody outside, and volumes are as they would be without", func(t *testing.T) {
		h.create("owner", `
  hostUsers: false
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 2000, sysctls: [{name: net.ipv4.tcp_syncookies, value: "0"}, {name: kernel.shm_rmid_forced, value: "1"}]}`+volumes+`
  containers:
  - name: c
    command: [sh, -ec, 'exec 2>&1; head -1 /proc/self/uid_map; id -u; busybox stat -L -c "%u:%g %n" / /bin /etc/hosts /etc/resolv.conf /dev/shm /own /part /memory /config/key /key /host/of-1000 /image/bin /bin2 /down/name;
      echo file > /own/f; echo file > /part/f; echo file > /memory/f; echo file > /host/made; echo file > /made; echo file > /dev/shm/f; busybox stat -c "%u:%g %n" /own/f /part/f /memory/f /host/made /made /dev/shm/f;
      cat /key /down/name /proc/sys/net/ipv4/tcp_syncookies; (echo x > /read/y) || echo refused; (echo x > /image/y) || echo refused; echo done > /dev/termination-log; hostname; echo to stdout > /dev/stdout']`+everywhere)
		out := h.output("owner")
		want := "0\n0:0 /\n0:0 /bin\n0:0 /etc/hosts\n0:0 /etc/resolv.conf\n0:0 /dev/shm\n0:2000 /own\n"
		first, rest, _ := strings.Cut(out, "\n")
		var inside, base, size int
		if n, _ := fmt.Sscan(first, &inside, &base, &size); n != 3 || inside != 0 || base < 65536 || size != 65536 || base%65536 != 0 {
			t.Errorf("its IDs are %q", first)
		}
		if !strings.HasPrefix(rest, want) {
			t.Errorf("it says\n%s\nwant first\n%s", rest, want)
		}
		for _, line := range []string{"0:2000 /part", "0:2000 /memory", "0:2000 /config/key", "0:2000 /key", "1000:1000 /host/of-1000", "0:0 /image/bin", "0:0 /bin2",
			"0:2000 /own/f", "0:0 /host/made", "0:0 /made", "0:0 /dev/shm/f", "value", "owner0", "refused", "to stdout"} {
			if !strings.Contains(rest, line+"\n") {
				t.Errorf("no line %q in\n%s", line, rest)
			}
		}
		if m := h.get("owner").Status.ContainerStatuses[0].State.Terminated.Message; m != "done\n" {
			t.Errorf("its last words are %q", m)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(shared, "made"), &st); err != nil || st.Uid != 0 {
			t.Errorf("what its root made in a volume is of the user %d, %v", st.Uid, err)
		}
		h.delete("owner")
		h.waitGone("owner")
	})

	h.run("its own namespaces are its root's to change, within the limits of its capabilities", func(t *testing.T) {
		h.create("admin", `{hostUsers: false, restartPolicy: Never, containers: [
  {name: c, command: [sh, -c, 'exec 2>/dev/null; busybox ip link set lo down && echo down; echo 1 > /proc/sys/net/ipv4/tcp_syncookies && echo written; busybox mount -t tmpfs none /tmp || echo refused'],
   securityContext: {procMount: Unmasked, capabilities: {add: [NET_ADMIN]}}},
  {name: tty, tty: true, command: [sh, -c, 'echo hello > /dev/tty; id -u']},
  {name: user, command: [id, -u], securityContext: {runAsUser: 101, readOnlyRootFilesystem: true, seccompProfile: {type: RuntimeDefault}}},
  {name: privileged, command: [sh, -c, 'exec 2>/dev/null; busybox mount -t tmpfs none /tmp && echo mounted; echo > /dev/kmsg || echo refused'], securityContext: {privileged: true}}]}`)
		h.wait("admin", "to end", phase(v1.PodSucceeded))
		for container, want := range map[string]string{"c": "down\nwritten\nrefused\n", "tty": "hello\r\n0\r\n", "user": "101\n", "privileged": "mounted\nrefused\n"} {
			if out := h.logs("admin", v1.PodLogOptions{Container: container}); out != want {
				t.Errorf("container %s says %q, want %q", container, out, want)
			}
		}
		h.delete("admin")
		h.waitGone("admin")
	})

	h.run("each Pod has its own, for as long as it lives", func(t *testing.T) {
		spec := `{hostUsers: false, shareProcessNamespace: true, containers: [{name: c, command: [sh, -c, 'trap exit TERM; while :; do sleep 0.2; done'], readinessProbe: {periodSeconds: 1, exec: {command: [test, -e, /tmp]}}}, {name: d, command: [sh, -c, 'trap exit TERM; while :; do sleep 0.2; done']}]}`
		h.create("one", spec)
		h.create("two", spec)
		p := h.wait("one", "to be ready", ready)
		h.wait("two", "to be ready", ready)
		id := func(pod string) string {
			return h.exec(pod+":c", "head", "-1", "/proc/self/uid_map")
		}
		one, two := id("one"), id("two")
		if one == two || !strings.Contains(one, "65536") {
			t.Errorf("the Pods' IDs are %q and %q", one, two)
		}
		if out := h.exec("one:c", "sh", "-c", "ls -a /proc/1/root/ 2>&1 || true"); strings.Contains(out, "etc") {
			t.Errorf("through the process that holds the namespace it sees %q", out)
		}
		h.killNode()
		h.startNode()
		h.create("three", spec)
		h.wait("three", "to be ready", ready)
		if three := id("three"); three == one || three == two {
			t.Errorf("a Pod of another daemon has the IDs of one that runs: %q", three)
		}
		if again := id("one"); again != one {
			t.Errorf("the Pod has the IDs %q after the daemon was killed, %q before", again, one)
		}
		if now := h.get("one"); now.Status.ContainerStatuses[0].ContainerID != p.Status.ContainerStatuses[0].ContainerID || now.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Error("a container was not taken over")
		}
		// A disk that lost what IDs a Pod has.
		h.killNode()
		if err := os.Truncate(filepath.Join(h.dir, "n", "pods", string(p.UID), "users"), 0); err != nil {
			t.Fatal(err)
		}
		h.startNode()
		h.create("four", spec)
		h.wait("four", "to be ready", ready)
		h.wait("one", "to run anew", func(p *v1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
		if out := h.exec("one:c", "busybox", "stat", "-c", "%u:%g", "/", "/etc/hosts"); out != "0:0\n0:0\n" {
			t.Errorf("files of a Pod with new IDs are of %q", out)
		}
		of := map[string]string{}
		names := []string{"one", "two", "three", "four"}
		for _, name := range names {
			ids := id(name)
			if of[ids] != "" {
				t.Errorf("%s and %s have the same IDs: %q", name, of[ids], ids)
			}
			of[ids] = name
			h.delete(name)
		}
		for _, name := range names {
			h.waitGone(name)
		}
		for _, left := range []string{"roots/*", "pods/*"} {
			h.eventually("nothing to be left", func() (bool, string) { // a Pod's own directory is removed when the API knows that it has ended
				found, _ := filepath.Glob(filepath.Join(h.dir, "n", left))
				return len(found) == 0, fmt.Sprint(found)
			})
		}
	})
}

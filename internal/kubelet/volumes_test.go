package kubelet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

func TestMountsAreReadOnlyWithWhatIsMountedBelowThem(t *testing.T) {
	h := start(t)
	dir := filepath.Join(h.dir, "tree")
	below := filepath.Join(dir, "below")
	if err := os.MkdirAll(below, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(below, unix.MNT_DETACH) })
	h.create("ro", fmt.Sprintf(`{volumes: [{name: v, hostPath: {path: %q}}], containers: [{name: c, command: [sh, -c, 'touch /plain/below/x && echo plain; touch /whole/below/y; echo done; exec sleep 1000'],
  volumeMounts: [{name: v, mountPath: /plain, readOnly: true}, {name: v, mountPath: /whole, readOnly: true, recursiveReadOnly: Enabled}]}]}`, dir))
	p := h.wait("ro", "to be ready", ready)
	var modes []string
	for _, m := range p.Status.ContainerStatuses[0].VolumeMounts {
		if m.Name == "v" {
			modes = append(modes, m.MountPath+" "+string(*m.RecursiveReadOnly))
		}
	}
	if got := strings.Join(modes, ", "); got != "/plain Disabled, /whole Enabled" {
		t.Errorf("the status says %s", got)
	}
	h.eventually("the container to have tried", func() (bool, string) {
		out := h.logs("ro", v1.PodLogOptions{})
		return strings.Contains(out, "done"), out
	})
	if out := h.logs("ro", v1.PodLogOptions{}); !strings.Contains(out, "plain\n") || !strings.Contains(out, "/whole/below/y: Read-only file system") {
		t.Errorf("it says\n%s", out)
	}
}

func TestMountsArePassedOnAsMountsSay(t *testing.T) {
	h := start(t)
	dir := filepath.Join(h.dir, "passed")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0711"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	for _, name := range []string{"from-host", "from-container"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	h.run("between the containers of a Pod, and its end takes nothing of what was mounted with it", func(t *testing.T) {
		theirs := filepath.Join(h.dir, "theirs")
		if err := os.MkdirAll(theirs, 0o755); err != nil {
			t.Fatal(err)
		}
		h.create("within", fmt.Sprintf(`{volumes: [{name: v, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}, {name: t, hostPath: {path: %q}}], containers: [
  {name: none, volumeMounts: [{name: v, mountPath: /v}]},
  {name: in, volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}, {name: memory, mountPath: /memory, mountPropagation: HostToContainer}]},
  {name: both, securityContext: {privileged: true}, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}, {name: memory, mountPath: /memory, mountPropagation: Bidirectional}, {name: t, mountPath: /t}]}]}`, theirs))
		h.wait("within", "to be ready", ready)
		h.exec("within:both", "sh", "-c", "mkdir /v/d && busybox mount -o bind /t /v/d && touch /v/d/seen")
		for name, want := range map[string]string{"none": "", "in": "seen", "both": "seen"} {
			if got := strings.TrimSpace(h.exec("within:"+name, "sh", "-c", "ls /v/d")); got != want {
				t.Errorf("%s sees %q, want %q", name, got, want)
			}
		}
		h.exec("within:both", "sh", "-c", "mkdir /memory/d && busybox mount -o bind /t /memory/d")
		if got := strings.TrimSpace(h.exec("within:in", "ls", "/memory/d")); got != "seen" {
			t.Errorf("in memory, in sees %q, want seen", got)
		}
		h.delete("within")
		h.waitGone("within")
		if _, err := os.Stat(filepath.Join(theirs, "seen")); err != nil {
			t.Errorf("what was mounted has lost its content: %v", err)
		}
		if b, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(b), "/v/d ") {
			t.Errorf("what it had mounted is left: %v\n%s", err, b)
		}
	})

	// A host's own mounts are shared; those of a test's namespace are not.
	h.create("cannot", fmt.Sprintf(`{volumes: [{name: v, hostPath: {path: %q}}], containers: [{name: in, volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}]}]}`, filepath.Join(dir, "from-host")))
	h.wait("cannot", "to be ready", ready)
	h.told("cannot", "MountPropagation", "mountPropagation HostToContainer of volume \"v\" has no effect: "+filepath.Join(dir, "from-host")+" is in the mount "+dir+", which the host does not share")
	h.delete("cannot")
	h.waitGone("cannot")
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	h.create("p", fmt.Sprintf(`{volumes: [{name: v, hostPath: {path: %q}}], containers: [
  {name: none, volumeMounts: [{name: v, mountPath: /v}]},
  {name: in, volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}]},
  {name: both, securityContext: {privileged: true}, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}]}`, dir))
	h.wait("p", "to be ready", ready)
	host := filepath.Join(dir, "from-host")
	if err := unix.Mount("tmpfs", host, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(host, unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(host, "seen"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	container := filepath.Join(dir, "from-container")
	h.exec("p:both", "busybox", "mount", "-t", "tmpfs", "tmpfs", "/v/from-container")
	t.Cleanup(func() { unix.Unmount(container, unix.MNT_DETACH) })
	h.exec("p:both", "touch", "/v/from-container/seen")
	for name, want := range map[string]string{"none": "", "in": "from-container/seen from-host/seen", "both": "from-container/seen from-host/seen"} {
		got := strings.Join(strings.Fields(h.exec("p:"+name, "sh", "-c", "cd /v; ls -d */seen 2>/dev/null; true")), " ")
		if got != want {
			t.Errorf("%s sees %q, want %q", name, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(container, "seen")); err != nil {
		t.Errorf("the host does not see what was mounted in the container: %v", err)
	}
	h.delete("p")
	h.waitGone("p")
	if _, err := os.Stat(filepath.Join(host, "seen")); err != nil {
		t.Errorf("with the Pod went what the host had mounted: %v", err)
	}
}

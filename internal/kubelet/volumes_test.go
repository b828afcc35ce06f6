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

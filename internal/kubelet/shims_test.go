package kubelet_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
)

// A shim that ends while the next one of its Pod begins takes that one's socket away, and containerd forgets a shim that it cannot reach.
func TestAShimThatContainerdHasLostEndsWithItsPod(t *testing.T) {
	const program = "containerd-shim-runc-v2"
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("SKIPPED: starting a shim as containerd does needs " + program)
	}
	h := start(t)
	pod := h.create("p", `{containers: [{name: c, command: [sleep, "1000"]}]}`)
	h.create("other", `{containers: [{name: c, command: [sleep, "1000"]}]}`)
	h.wait("p", "to be ready", ready)
	running := h.wait("other", "to be ready", ready).Status.ContainerStatuses[0].ContainerID

	bundle := filepath.Join(h.dir, "lost")
	if err := os.Mkdir(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"annotations": {%q: %q}}`, runtime.GroupAnnotation, pod.UID)
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// A shim writes its log to a pipe, and begins when that is read.
	if err := unix.Mkfifo(filepath.Join(bundle, "log"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(bundle, "log"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// startShim gives the address of the Pod's shim, starting one if none listens there.
	startShim := func() string {
		t.Helper()
		address := filepath.Join(h.dir, "n", "containerd", "containerd.sock")
		cmd := exec.Command(program, "-namespace", runtime.Namespace, "-id", "lost", "-address", address, "start")
		cmd.Dir, cmd.Env = bundle, append(os.Environ(), "TTRPC_ADDRESS="+address+".ttrpc")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("starting a shim: %v", err)
		}
		return strings.TrimPrefix(strings.TrimSpace(string(out)), "unix://")
	}
	lost := func() string {
		procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range procs {
			if b, _ := os.ReadFile(p); bytes.Contains(b, []byte("\x00lost\x00-address\x00"+h.dir+"/")) {
				return p
			}
		}
		return ""
	}
	socket := startShim()
	if p := lost(); p != "" {
		t.Fatalf("%s is a shim of its own; the Pod's containers were to share one", p)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	startShim()
	if lost() == "" {
		t.Fatal("there is no second shim to be lost")
	}

	h.delete("p")
	h.waitGone("p")
	if p := lost(); p != "" {
		t.Errorf("the Pod is gone, and %s, a shim that containerd does not know, is still there", p)
	}
	if _, err := os.Lstat(socket); err == nil {
		t.Errorf("the Pod is gone, and its shim's socket %s is still there", socket)
	}
	if out := h.exec("other", "echo", "hello"); out != "hello\n" {
		t.Errorf("exec in a Pod beside it said %q", out)
	}
	if c := h.get("other").Status.ContainerStatuses[0]; c.ContainerID != running || c.RestartCount != 0 {
		t.Errorf("the container of a Pod beside it is now %s after %d restarts, was %s", c.ContainerID, c.RestartCount, running)
	}
}

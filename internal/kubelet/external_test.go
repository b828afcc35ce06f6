package kubelet_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// runtimeOf is a containerd that was on the host before the node came, and stays when it goes.
type runtimeOf struct {
	h      *host
	dir    string
	daemon *exec.Cmd
}

func (r *runtimeOf) socket() string { return filepath.Join(r.dir, "c.sock") }

func (r *runtimeOf) start() {
	r.h.t.Helper()
	r.daemon = exec.Command("containerd", "--config", filepath.Join(r.dir, "config.toml"))
	r.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := r.daemon.Start(); err != nil {
		r.h.t.Fatal(err)
	}
}

func (r *runtimeOf) kill() {
	r.h.t.Helper()
	if err := r.daemon.Process.Kill(); err != nil {
		r.h.t.Fatal(err)
	}
	r.daemon.Wait()
}

// namespaces lists those that containerd has.
func (r *runtimeOf) namespaces() string {
	out, err := exec.Command("ctr", "--address", r.socket(), "namespaces", "list", "-q").CombinedOutput()
	return fmt.Sprint(strings.Fields(string(out)), err)
}

func (h *host) nodeReady() (bool, string) {
	n, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
	if err != nil {
		return false, err.Error()
	}
	for _, c := range n.Status.Conditions {
		if c.Type == v1.NodeReady {
			return c.Status == v1.ConditionTrue, c.Message
		}
	}
	return false, "it has no condition Ready"
}

func TestANodeUsesTheContainerdThatIsThere(t *testing.T) {
	if _, err := exec.LookPath("ctr"); err != nil {
		t.Skip("SKIPPED: looking into a containerd from outside needs ctr")
	}
	h := prepare(t)
	r := &runtimeOf{h: h, dir: filepath.Join(h.dir, "c")}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(r.dir, "root"), filepath.Join(r.dir, "state"), r.socket())
	if err := os.WriteFile(filepath.Join(r.dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	h.flags = append(h.flags, "--containerd-address", r.socket())
	h.cleanFlags = []string{"--containerd-address", r.socket()}
	t.Cleanup(func() { r.kill() })

	// The node comes first, as after a reboot: it waits and says so.
	h.startNode()
	h.eventually("the node to say what it lacks", func() (bool, string) {
		ok, message := h.nodeReady()
		return !ok && strings.Contains(message, "containerd at "+r.socket()+" does not answer yet"), message
	})
	r.start()
	h.eventually("the node to be Ready", h.nodeReady)
	h.create("p", `{containers: [{name: c, command: [sleep, "1000"]}]}`)
	before := h.wait("p", "to be ready", ready).Status.ContainerStatuses[0].ContainerID
	if out := h.exec("p", "echo", "hello"); out != "hello\n" {
		t.Errorf("exec said %q", out)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "n", "containerd")); err == nil {
		t.Error("the node made a containerd of its own all the same")
	}

	h.run("it goes and comes back, and no container minds", func(t *testing.T) {
		r.kill()
		h.eventually("the node to say that it is gone", func() (bool, string) {
			ok, message := h.nodeReady()
			return !ok && strings.Contains(message, "containerd does not answer"), message
		})
		r.start()
		h.eventually("the node to be Ready", h.nodeReady)
		p := h.wait("p", "to be ready", ready)
		if c := p.Status.ContainerStatuses[0]; c.ContainerID != before || c.RestartCount != 0 {
			t.Errorf("the container is now %s after %d restarts, was %s", c.ContainerID, c.RestartCount, before)
		}
		h.eventually("exec to work", func() (bool, string) {
			out := h.exec("p", "echo", "again")
			return out == "again\n", out
		})
	})
	h.run("it outlives the node, which takes only its own away", func(t *testing.T) {
		if out, err := exec.Command("ctr", "--address", r.socket(), "--namespace", "others", "namespaces", "create", "others").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		h.killNode()
		args := append([]string{"clean", "--data-dir", filepath.Join(h.dir, "n"), "--pod-log-dir", filepath.Join(h.dir, "logs"), "--cgroup-root", h.cgroup(), "--delete-volumes"}, h.cleanFlags...)
		if out, err := exec.Command(filepath.Join(os.Getenv(dirVariable), "node"), args...).CombinedOutput(); err != nil {
			t.Fatalf("node clean: %v\n%s", err, out)
		}
		out, err := exec.Command("ctr", "--address", r.socket(), "--namespace", "gitopsd", "containers", "list", "-q").CombinedOutput()
		if err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("left in containerd: %s, %v", out, err)
		}
		if got := r.namespaces(); !strings.Contains(got, "others") {
			t.Errorf("namespaces left: %s, want others among them", got)
		}
	})
}

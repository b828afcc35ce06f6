package kubelet_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
)

const (
	// hostIP is this test's address as a host, on one end of a veth pair: documentation range (RFC 5737), and no way out of the namespace.
	hostIP  = "192.0.2.10"
	apiPort = 6443
	// testImage is loaded from an archive; its registry does not exist.
	testImage = "registry.example/busybox:1"
	patience  = 60 * time.Second
)

// host is a control plane and a node on it.
type host struct {
	t      testing.TB
	dir    string
	client *kubernetes.Clientset
	config *rest.Config

	stopAPI func()
	program string // the daemon; empty for the usual
	node    *exec.Cmd
	flags   []string
	// cleanFlags are those of `node clean` beyond the usual.
	cleanFlags []string
}

var number int

// start runs a control plane and a node until the test ends. What the node logged is shown if the test failed.
func start(t testing.TB, flags ...string) *host {
	t.Helper()
	h := prepare(t)
	h.flags = append(h.flags, flags...)
	h.startNode()
	h.eventually("the node to be Ready", func() (bool, string) {
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
	})
	return h
}

// prepare runs a control plane only.
func prepare(t testing.TB) *host {
	t.Helper()
	number++
	h := &host{t: t, dir: filepath.Join(os.Getenv(dirVariable), fmt.Sprint(number))}
	if err := os.MkdirAll(filepath.Join(h.dir, "n", "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	link(t)
	h.startAPI()
	t.Cleanup(func() { h.stopAPI() })
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(h.dir, "cp", "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	h.config = cfg
	if h.client, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	h.flags = h.nodeFlags(h.token())
	t.Cleanup(h.clean)
	writeImage(t, filepath.Join(h.dir, "n", "images", "busybox.tar"))
	return h
}

func (h *host) token() string {
	h.t.Helper()
	var token []byte
	h.eventually("a join token", func() (bool, string) {
		var err error
		token, err = os.ReadFile(filepath.Join(h.dir, "cp", "node-token"))
		return err == nil && len(token) > 0, fmt.Sprint(err)
	})
	return strings.TrimSpace(string(token))
}

func (h *host) nodeFlags(token string) []string {
	return []string{"--server", fmt.Sprintf("https://%s:%d", hostIP, apiPort), "--token", token, "--data-dir", filepath.Join(h.dir, "n"),
		"--name", "n1", "--node-ip", hostIP, "--cgroup-root", h.cgroup(), "--pod-log-dir", filepath.Join(h.dir, "logs"), "-v",
		// The disk is that of whoever runs the tests, and as full as they like it.
		"--eviction-hard", "memory.available<50Mi,nodefs.available<500Mi,imagefs.available<500Mi", "--image-gc-high-threshold-percent", "100"}
}

func (h *host) cgroup() string { return "/gitopsd-test-" + filepath.Base(filepath.Dir(h.dir)) }

func (h *host) startAPI() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, serve.Options{
			DataDir: filepath.Join(h.dir, "cp"), BindAddress: hostIP, Port: apiPort, Advertise: hostIP, NodeMonitorGracePeriod: time.Minute,
			ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}, Interval: time.Minute,
		}, func() { close(up) })
	}()
	select {
	case <-up:
	case err := <-done:
		cancel()
		h.t.Fatalf("the control plane did not start: %v", err)
	case <-time.After(patience):
		cancel()
		h.t.Fatal("the control plane is not up after a minute")
	}
	var once sync.Once
	h.stopAPI = func() {
		once.Do(func() {
			cancel()
			<-done
		})
	}
}

// startNode starts the daemon, for the first time or again.
func (h *host) startNode() {
	h.t.Helper()
	f, err := os.OpenFile(filepath.Join(h.dir, "node.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	h.node = exec.Command(cmp.Or(h.program, filepath.Join(os.Getenv(dirVariable), "node")), h.flags...)
	h.node.Stdout, h.node.Stderr = f, f
	h.node.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.node.Start(); err != nil {
		h.t.Fatal(err)
	}
}

// killNode ends the daemon as a crash does.
func (h *host) killNode() {
	h.t.Helper()
	if err := h.node.Process.Kill(); err != nil {
		h.t.Fatal(err)
	}
	h.node.Wait()
}

// containerd gives the number of the node's own containerd.
func (h *host) containerd() int {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, "n", "containerd", "containerd.pid"))
	if err != nil {
		h.t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		h.t.Fatal(err)
	}
	return pid
}

// clean takes the node off the machine, with the command that users have for it, and checks that it does.
func (h *host) clean() {
	if h.node != nil {
		h.node.Process.Kill()
		h.node.Wait()
	}
	if log, _ := os.ReadFile(filepath.Join(h.dir, "node.log")); bytes.Contains(log, []byte("DATA RACE")) || bytes.Contains(log, []byte("panic: ")) {
		h.t.Errorf("the daemon raced or panicked")
	}
	if h.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(h.dir, "node.log"))
		h.t.Logf("what the node logged:\n%s", log[max(0, len(log)-20000):])
	}
	out, err := exec.Command(filepath.Join(os.Getenv(dirVariable), "node"), append([]string{"clean", "--data-dir", filepath.Join(h.dir, "n"),
		"--pod-log-dir", filepath.Join(h.dir, "logs"), "--cgroup-root", h.cgroup(), "--delete-volumes"}, h.cleanFlags...)...).CombinedOutput()
	if err != nil {
		h.t.Errorf("node clean: %v\n%s", err, out)
	}
	if left := h.left(); left != "" {
		h.t.Errorf("node clean left: %s", left)
	}
	os.RemoveAll(h.dir)
}

// left names what of the node is still on the machine.
func (h *host) left() string {
	var left []string
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, h.dir+"/n") {
			left = append(left, "mount "+strings.Fields(line)[4])
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		b, _ := os.ReadFile(p)
		if bytes.Contains(b, []byte(h.dir+"/n")) {
			left = append(left, fmt.Sprintf("process %s (%q)", filepath.Base(filepath.Dir(p)), bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + h.cgroup())
	for _, g := range append(groups, "/sys/fs/cgroup"+h.cgroup(), filepath.Join(h.dir, "n")) {
		if _, err := os.Stat(g); err == nil {
			left = append(left, g)
		}
	}
	return strings.Join(left, ", ")
}

// run runs a part of a test; what fails in it is its failure.
func (h *host) run(what string, f func(t *testing.T)) {
	whole := h.t
	whole.(*testing.T).Run(what, func(t *testing.T) {
		h.t = t
		f(t)
	})
	h.t = whole
}

func (h *host) ctx() context.Context { return h.t.Context() }

// eventually waits until ok says so; what it said last is shown when it does not.
func (h *host) eventually(what string, ok func() (bool, string)) {
	h.t.Helper()
	said := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		done, now := ok()
		if done {
			return
		}
		said = now
	}
	h.t.Fatalf("waited %v for %s; last: %s", patience, what, said)
}

// create makes a Pod from the YAML of its spec, on the node.
func (h *host) create(podName, spec string) *v1.Pod {
	h.t.Helper()
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: podName, Namespace: "default"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		h.t.Fatal(err)
	}
	grace := int64(1)
	if p.Spec.TerminationGracePeriodSeconds == nil {
		p.Spec.TerminationGracePeriodSeconds = &grace
	}
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Image == "" {
				list[i].Image = testImage
			}
		}
	}
	p, err := h.client.CoreV1().Pods("default").Create(h.ctx(), p, metav1.CreateOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *host) get(podName string) *v1.Pod {
	h.t.Helper()
	p, err := h.client.CoreV1().Pods("default").Get(h.ctx(), podName, metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// wait waits until a Pod is as wanted.
func (h *host) wait(podName, what string, ok func(*v1.Pod) bool) *v1.Pod {
	h.t.Helper()
	var p *v1.Pod
	h.eventually("Pod "+podName+" "+what, func() (bool, string) {
		var err error
		p, err = h.client.CoreV1().Pods("default").Get(h.ctx(), podName, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		b, _ := yaml.Marshal(p.Status)
		return ok(p), string(b)
	})
	return p
}

func ready(p *v1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == v1.PodReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

func phase(want v1.PodPhase) func(*v1.Pod) bool {
	return func(p *v1.Pod) bool { return p.Status.Phase == want }
}

func waiting(reason string) func(*v1.Pod) bool {
	return func(p *v1.Pod) bool {
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Waiting != nil && c.State.Waiting.Reason == reason {
				return true
			}
		}
		return false
	}
}

func (h *host) delete(podName string) {
	h.t.Helper()
	if err := h.client.CoreV1().Pods("default").Delete(h.ctx(), podName, metav1.DeleteOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) waitGone(podName string) {
	h.t.Helper()
	h.eventually("Pod "+podName+" to be gone", func() (bool, string) {
		_, err := h.client.CoreV1().Pods("default").Get(h.ctx(), podName, metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

func (h *host) logs(podName string, o v1.PodLogOptions) string {
	h.t.Helper()
	var out string
	h.eventually("the log of "+podName, func() (bool, string) {
		b, err := h.client.CoreV1().Pods("default").GetLogs(podName, &o).DoRaw(h.ctx())
		out = string(b)
		return err == nil, fmt.Sprint(err, out)
	})
	return out
}

// told waits for an event of a Pod with a certain reason that says something.
func (h *host) told(podName, reason, text string) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("an event %s of Pod %s that says %q", reason, podName, text), func() (bool, string) {
		list, err := h.client.CoreV1().Events("default").List(h.ctx(), metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("involvedObject.name", podName).String()})
		if err != nil {
			return false, err.Error()
		}
		var said []string
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return true, ""
			}
			said = append(said, e.Reason+": "+e.Message)
		}
		return false, strings.Join(said, "\n")
	})
}

// event waits for an event of a Pod.
func (h *host) event(podName, reason string) v1.Event {
	h.t.Helper()
	var found v1.Event
	h.eventually(fmt.Sprintf("an event %s of Pod %s", reason, podName), func() (bool, string) {
		list, err := h.client.CoreV1().Events("default").List(h.ctx(), metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("involvedObject.name", podName).String()})
		if err != nil {
			return false, err.Error()
		}
		var reasons []string
		for _, e := range list.Items {
			if e.Reason == reason {
				found = e
				return true, ""
			}
			reasons = append(reasons, e.Reason)
		}
		return false, fmt.Sprint(reasons)
	})
	return found
}

package kubelet_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nothingLeftOf checks that a Pod's mounts, groups, processes and files are gone. The API may forget the Pod a moment before the last of it is.
func (h *host) nothingLeftOf(uid string) {
	h.t.Helper()
	h.eventually("nothing to be left of Pod "+uid, func() (bool, string) {
		var left []string
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return false, err.Error()
		}
		if strings.Contains(string(mounts), uid) {
			left = append(left, "mounts")
		}
		for _, pattern := range []string{"/sys/fs/cgroup/*" + h.cgroup() + "/pod" + uid, h.dir + "/n/pods/" + uid, h.dir + "/logs/*" + uid} {
			found, _ := filepath.Glob(pattern)
			left = append(left, found...)
		}
		return len(left) == 0, strings.Join(left, ", ")
	})
}

// identity is what must not change of a Pod that goes on running.
func identity(p *v1.Pod) []string {
	out := []string{p.Status.PodIP}
	for _, c := range p.Status.ContainerStatuses {
		out = append(out, fmt.Sprintf("%s %s restarts=%d started=%v", c.Name, c.ContainerID, c.RestartCount, c.State.Running))
	}
	return out
}

const counter = `{containers: [{name: c, command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done']}]}`

// checkCounter checks that a log holds every number from 1 on, once.
func checkCounter(t testing.TB, log string) int {
	t.Helper()
	n := 0
	for line := range strings.Lines(log) {
		n++
		if got, err := strconv.Atoi(strings.TrimSpace(line)); err != nil || got != n {
			t.Fatalf("line %d of the log is %q", n, line)
		}
	}
	return n
}

func TestKillingTheDaemonsRestartsNoContainerAndLosesNoLine(t *testing.T) {
	h := start(t)
	next := buildRelease(t, h.dir, "next")
	h.create("a", counter)
	h.create("probed", `{containers: [{name: c, readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1, timeoutSeconds: 20}}]}`)
	h.wait("probed", "to be ready", ready)
	want := map[string][]string{"a": identity(h.wait("a", "to be ready", ready)), "probed": identity(h.get("probed"))}
	unready := h.watchUnready("a", "probed")

	for _, victim := range []string{"node", "containerd", "both", "logger", "terminated", "release"} {
		switch victim {
		case "node":
			h.killNode()
		case "containerd":
			kill(t, h.containerd())
		case "both":
			pid := h.containerd()
			h.killNode()
			kill(t, pid)
		case "logger":
			h.killLogger()
		case "release": // another one takes over, with a log collector of its own
			h.killNode()
			h.program = next
		case "terminated":
			if err := h.node.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := h.node.Wait(); err != nil {
				t.Errorf("the daemon ends on SIGTERM with: %v", err)
			}
		}
		if victim != "containerd" && victim != "logger" {
			time.Sleep(500 * time.Millisecond) // the log goes on meanwhile
			h.startNode()
		}
		h.create("after-"+victim, `{containers: [{name: c}]}`)
		h.wait("after-"+victim, "to be ready", ready)
		for pod, id := range want {
			if diff := cmp.Diff(id, identity(h.get(pod))); diff != "" {
				t.Errorf("after %s was killed, Pod %s (-before +after):\n%s", victim, pod, diff)
			}
		}
	}
	if n := checkCounter(t, h.logs("a", v1.PodLogOptions{})); n < 100 {
		t.Errorf("the log has only %d lines", n)
	}
	if s := unready(); s != "" {
		t.Errorf("meanwhile %s", s)
	}
}

// buildRelease builds the daemon as of another release.
func buildRelease(t testing.TB, dir, release string) string {
	t.Helper()
	path := filepath.Join(dir, "node-"+release)
	args := append([]string{"build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-X main.release=" + release, "-o", path}, buildFlags...)
	cmd := exec.Command("go", append(args, "github.com/gitopsd/gitopsd/cmd/node")...)
	if len(buildFlags) == 0 {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the node daemon: %v\n%s", err, out)
	}
	return path
}

// watchUnready notes whether Pods that were ready are reported not to be.
func (h *host) watchUnready(names ...string) func() string {
	h.t.Helper()
	w, err := h.client.CoreV1().Pods("default").Watch(h.ctx(), metav1.ListOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		said := ""
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*v1.Pod); ok && strings.Contains(" "+strings.Join(names, " ")+" ", " "+p.Name+" ") && !ready(p) {
				said += "Pod " + p.Name + " was reported as not ready; "
			}
		}
		found <- said
	}()
	return func() string { w.Stop(); return <-found }
}

func kill(t testing.TB, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// killLogger kills the process that collects containers' logs.
func (h *host) killLogger() {
	h.t.Helper()
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		b, _ := os.ReadFile(p)
		if strings.Contains(string(b), "logger\x00"+h.dir) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			if err != nil {
				h.t.Fatal(err)
			}
			kill(h.t, pid)
			return
		}
	}
	h.t.Fatal("there is no log collector")
}

func TestWhatHappenedWhileTheDaemonWasDownIsCaughtUpWith(t *testing.T) {
	h := start(t)
	gone := h.create("deleted", `{containers: [{name: c}]}`)
	forced := h.create("forced", `{containers: [{name: c}]}`)
	h.create("ended", `{restartPolicy: Never, containers: [{name: c, command: [sh, -c, 'sleep 1; echo done; exit 5']}]}`)
	h.create("crashed", `{containers: [{name: c, command: [sh, -c, 'test -e /v/x && exec sleep 1000; touch /v/x; sleep 1; exit 1'], volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, emptyDir: {}}]}`)
	for _, p := range []string{"deleted", "forced", "ended", "crashed"} {
		h.wait(p, "to be ready", ready)
	}
	h.killNode()
	h.delete("deleted")
	now := int64(0)
	if err := h.client.CoreV1().Pods("default").Delete(h.ctx(), "forced", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	h.waitGone("forced")
	time.Sleep(1500 * time.Millisecond) // the containers end by themselves meanwhile
	h.startNode()
	h.waitGone("deleted")
	h.nothingLeftOf(string(gone.UID))
	h.nothingLeftOf(string(forced.UID))
	p := h.wait("ended", "to be reported as failed", phase(v1.PodFailed))
	if end := p.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 5 || end.Reason != "Error" {
		t.Errorf("it ended as %+v", end)
	}
	if out := h.logs("ended", v1.PodLogOptions{}); out != "done\n" {
		t.Errorf("its log is %q", out)
	}
	h.wait("crashed", "to run again", func(p *v1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
}

func TestARebootedHostRunsItsPodsAgain(t *testing.T) {
	h := start(t)
	h.create("web", `
initContainers: [{name: i, command: [sh, -c, 'echo x >> /v/count'], volumeMounts: [{name: v, mountPath: /v}]}]
containers: [{name: c, command: [sh, -c, 'cat /v/count; sleep 1000'], volumeMounts: [{name: v, mountPath: /v}]}]
volumes: [{name: v, emptyDir: {}}]
`)
	h.create("job", `{restartPolicy: Never, containers: [{name: c, command: [sh, -c, 'exit 0']}]}`)
	h.wait("job", "to succeed", phase(v1.PodSucceeded))
	h.create("interrupted", `{restartPolicy: Never, containers: [{name: c}]}`)
	h.wait("interrupted", "to be ready", ready)
	ip := h.wait("web", "to be ready", ready).Status.PodIP
	h.reboot()
	h.startNode()
	p := h.wait("web", "to run again", func(p *v1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if p.Status.PodIP != ip {
		t.Errorf("its address changed from %s to %s", ip, p.Status.PodIP)
	}
	if n := p.Status.InitContainerStatuses[0].RestartCount; n != 1 {
		t.Errorf("its init container ran %d times again, want once", n)
	}
	h.wait("interrupted", "to be reported as failed", phase(v1.PodFailed))
	if p := h.get("job"); p.Status.Phase != v1.PodSucceeded || p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("a Pod that had ended became %s", p.Status.Phase)
	}
}

// reboot ends every process of the node's and unmounts what it mounted, as a reboot does. Disks stay.
func (h *host) reboot() {
	h.t.Helper()
	pid := h.containerd()
	h.killNode()
	kill(h.t, pid)
	h.killLogger()
	procs, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, p := range procs { // containers, then their shims
		if b, _ := os.ReadFile(p); strings.Contains(string(b), h.cgroup()+"/") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p))); err == nil {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	procs, _ = filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if b, _ := os.ReadFile(p); strings.Contains(string(b), h.dir+"/n/containerd/containerd.sock") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p))); err == nil {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], h.dir+"/n/") {
			unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(filepath.Join(h.dir, "n", "containerd", "state")); err != nil { // it lies on tmpfs on a host
		h.t.Fatal(err)
	}
}

func TestWithoutTheAPITheNodeGoesOn(t *testing.T) {
	h := start(t)
	if _, err := h.client.CoreV1().ConfigMaps("default").Create(h.ctx(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.create("web", `
volumes: [{name: v, configMap: {name: cm}}]
containers: [{name: c, command: [sh, -c, 'cat /v/k; echo; echo $KUBERNETES_SERVICE_HOST; sleep 1000'], volumeMounts: [{name: v, mountPath: /v}]}]
`)
	p := h.wait("web", "to be ready", ready)
	h.servicesKept()
	h.stopAPI()
	// It ends when it is told to, as at a restart of its service, and not when there is an API again.
	h.eventually("the daemon to follow nothing any more", func() (bool, string) {
		b, err := os.ReadFile(filepath.Join(h.dir, "node.log"))
		return strings.Contains(string(b), "connection refused"), fmt.Sprint(err)
	})
	ended := make(chan error, 1)
	if err := h.node.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- h.node.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the daemon ends on SIGTERM with: %v", err)
		}
	case <-time.After(patience / 2):
		t.Fatal("the daemon does not end on SIGTERM while the API is away")
	}
	// And its container dies while nobody can be asked.
	h.startNode()
	log := h.logGlob(p, 0)
	h.eventually("the container to have started", func() (bool, string) { b, err := os.ReadFile(log); return len(b) > 0, fmt.Sprint(err) })
	h.killContainer(p)
	h.eventually("the container to run again", func() (bool, string) {
		b, err := os.ReadFile(h.logGlob(p, 1))
		return strings.Contains(string(b), "F v") && strings.Contains(string(b), "F 10.43.0.1\n"), fmt.Sprint(string(b), err)
	})
	h.startAPI()
	h.wait("web", "to be reported as restarted", func(p *v1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
}

// servicesKept waits until the node has noted the cluster's Services for its next start.
func (h *host) servicesKept() {
	h.t.Helper()
	h.eventually("the Services to be kept", func() (bool, string) {
		_, err := os.Stat(filepath.Join(h.dir, "n", "services.pb"))
		return err == nil, fmt.Sprint(err)
	})
}

func (h *host) logGlob(p *v1.Pod, attempt int) string {
	return filepath.Join(h.dir, "logs", fmt.Sprintf("default_%s_%s", p.Name, p.UID), "c", fmt.Sprintf("%d.log", attempt))
}

// killContainer kills every process of a Pod's containers.
func (h *host) killContainer(p *v1.Pod) {
	h.t.Helper()
	procs, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	n := 0
	for _, f := range procs {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), h.cgroup()+"/pod"+string(p.UID)) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
				unix.Kill(pid, unix.SIGKILL)
				n++
			}
		}
	}
	if n == 0 {
		h.t.Fatalf("Pod %s has no process", p.Name)
	}
}

func TestAFullImageStoreIsToldOfAndOtherPodsGoOn(t *testing.T) {
	h := prepare(t)
	root := filepath.Join(h.dir, "n", "containerd", "root")
	if err := os.MkdirAll(root, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=24m"); err != nil {
		t.Fatal(err)
	}
	reg := serveRegistry(t, "", "")
	reg.pushLarge("big:1", 40<<20)
	h.startNode()
	h.create("small", `{containers: [{name: c}]}`)
	h.wait("small", "to be ready", ready)
	h.create("big", fmt.Sprintf(`{containers: [{name: c, image: "%s/big:1"}]}`, reg.addr))
	h.wait("big", "to wait for its image", waiting("ImagePullBackOff"))
	e := h.event("big", "Failed")
	if !strings.Contains(e.Message, "is full") || !strings.Contains(e.Message, "big:1") {
		t.Errorf("the event says %q, want the image, the cause and what to do", e.Message)
	}
	h.create("small2", `{containers: [{name: c}]}`)
	h.wait("small2", "to be ready", ready)
}

func TestAFullDiskIsToldOfAndWhatRunsGoesOn(t *testing.T) {
	var h *host
	t.Cleanup(func() { // after the node is taken off, which needs its directories
		for _, dir := range []string{"logs", "disk"} {
			unix.Unmount(filepath.Join(h.dir, dir), unix.MNT_DETACH)
		}
		os.RemoveAll(h.dir)
	})
	h = prepare(t)
	// The Pods' directories and logs on a disk of their own, which is filled to the last block.
	disk := filepath.Join(h.dir, "disk")
	mount := func(source, target, kind string, flags uintptr, data string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(target, 0o755), unix.Mount(source, target, kind, flags, data)); err != nil {
			t.Fatal(err)
		}
	}
	mount("tmpfs", disk, "tmpfs", 0, "size=4m")
	for name, at := range map[string]string{"pods": filepath.Join(h.dir, "n", "pods"), "logs": filepath.Join(h.dir, "logs")} {
		if err := os.Mkdir(filepath.Join(disk, name), 0o755); err != nil {
			t.Fatal(err)
		}
		mount(filepath.Join(disk, name), at, "", unix.MS_BIND, "")
	}
	h.startNode()
	h.create("runs", counter)
	before := identity(h.wait("runs", "to be ready", ready))

	full := filepath.Join(disk, "full")
	fill := func() {
		f, err := os.OpenFile(full, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, size := range []int{64 << 10, 4 << 10, 1} {
			for err = nil; err == nil; {
				_, err = f.Write(make([]byte, size))
			}
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	fill()
	h.create("new", `{containers: [{name: c, image: "`+testImage+`"}], volumes: [{name: v, emptyDir: {}}]}`)
	h.told("new", "FailedCreatePodSandBox", "no space left on device")
	if diff := cmp.Diff(before, identity(h.get("runs"))); diff != "" {
		t.Errorf("a full disk touched the Pod that runs (-before +after):\n%s", diff)
	}
	// The daemon may start anew meanwhile.
	h.killNode()
	h.startNode()
	h.eventually("the daemon to serve again", func() (bool, string) {
		out, err := h.tryExec("runs", "true")
		return err == nil, fmt.Sprint(out, err)
	})
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	h.wait("new", "to be ready once there is room", ready)
	if diff := cmp.Diff(before, identity(h.get("runs"))); diff != "" {
		t.Errorf("the Pod that ran was touched (-before +after):\n%s", diff)
	}
	// Lines were lost for want of room, but none is in the log by half, and newer ones are.
	last := ""
	h.eventually("the log to go on", func() (bool, string) {
		raw, err := os.ReadFile(h.logGlob(h.get("runs"), 0))
		if err != nil {
			return false, err.Error()
		}
		lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
		for _, line := range lines {
			if f := strings.Fields(line); len(f) != 4 || f[1] != "stdout" || f[2] != "F" {
				t.Fatalf("a line of the log is %q", line)
			}
		}
		was := last
		last = lines[len(lines)-1]
		return was != "" && was != last, last
	})
}

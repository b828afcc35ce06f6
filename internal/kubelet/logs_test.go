package kubelet_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
)

func TestLogsAreShownInPartAndOfTheAttemptBefore(t *testing.T) {
	h := start(t)
	h.create("old", `{containers: [{name: c, command: [sh, -c, 'echo old; sleep 1.1; echo new; echo last; touch /tmp/ok; sleep 1000'], readinessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1}}]}`)
	h.create("twice", `{containers: [{name: c, command: [sh, -c, 'if test -e /s/x; then echo second; touch /s/ok; sleep 1000; fi; touch /s/x; echo first; exit 1'],
		volumeMounts: [{name: s, mountPath: /s}], readinessProbe: {exec: {command: [cat, /s/ok]}, periodSeconds: 1}}], volumes: [{name: s, emptyDir: {}}]}`)
	h.create("stuck", `{initContainers: [{name: i, command: [sh, -c, 'echo at work; sleep 1000']}], containers: [{name: c, command: ["true"]}]}`)
	h.create("mount", `{containers: [{name: c, command: ["true"]}], volumes: [{name: v, configMap: {name: none}}]}`)
	h.create("image", `{containers: [{name: c, image: "registry.example/none:1", imagePullPolicy: Never}]}`)
	h.wait("old", "to be ready", ready)
	h.wait("twice", "to be ready", ready)
	h.wait("stuck", "to run its init container", func(p *v1.Pod) bool {
		return len(p.Status.InitContainerStatuses) > 0 && p.Status.InitContainerStatuses[0].State.Running != nil
	})
	h.wait("image", "to lack its image", waiting("ErrImageNeverPull"))

	h.run("parts", func(t *testing.T) {
		stamped := h.logs("old", v1.PodLogOptions{Timestamps: true})
		var at time.Time
		for line := range strings.Lines(stamped) {
			stamp, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			when, err := time.Parse(time.RFC3339Nano, stamp)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if text == "new" {
				at = when
			}
		}
		one, two, bytes := int64(1), int64(2), int64(6)
		since := metav1.NewTime(at.Truncate(time.Second)) // the API has it in seconds; "old" is more than one before
		hour := int64(3600)
		for name, c := range map[string]struct {
			o    v1.PodLogOptions
			want string
		}{
			"all":        {v1.PodLogOptions{}, "old\nnew\nlast\n"},
			"tail":       {v1.PodLogOptions{TailLines: &two}, "new\nlast\n"},
			"since":      {v1.PodLogOptions{SinceTime: &since}, "new\nlast\n"},
			"since long": {v1.PodLogOptions{SinceSeconds: &hour}, "old\nnew\nlast\n"},
			"both":       {v1.PodLogOptions{SinceTime: &since, TailLines: &one}, "last\n"},
			"bytes":      {v1.PodLogOptions{LimitBytes: &bytes}, "old\nne"},
			"previous":   {v1.PodLogOptions{Previous: false}, "old\nnew\nlast\n"},
		} {
			if got := h.logs("old", c.o); got != c.want {
				t.Errorf("%s: got %q, want %q", name, got, c.want)
			}
		}
	})
	h.run("of the attempt before", func(t *testing.T) {
		if got := h.logs("twice", v1.PodLogOptions{Previous: true}); got != "first\n" {
			t.Errorf("got %q", got)
		}
		if got := h.logs("twice", v1.PodLogOptions{}); got != "second\n" {
			t.Errorf("of the present one: got %q", got)
		}
	})
	h.run("of an init container", func(t *testing.T) {
		if got := h.logs("stuck", v1.PodLogOptions{Container: "i"}); got != "at work\n" {
			t.Errorf("got %q", got)
		}
	})
	h.run("through its rotations", func(t *testing.T) {
		const lines, chunk = 600000, 100000 // some 30 MB of file
		h.create("much", fmt.Sprintf(`{restartPolicy: Never, containers: [{name: c, command: [sh, -ec, 'i=0; while [ $i -lt %d ]; do busybox seq $((i+1)) $((i+%d)); i=$((i+%d)); sleep 0.5; done']}]}`, lines, chunk, chunk))
		p := h.wait("much", "to run", func(p *v1.Pod) bool { return phase(v1.PodRunning)(p) || phase(v1.PodSucceeded)(p) })
		stream, err := h.client.CoreV1().Pods("default").GetLogs("much", &v1.PodLogOptions{Follow: true}).Stream(h.ctx())
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		n := 0
		for scan := bufio.NewScanner(stream); scan.Scan(); {
			if n++; scan.Text() != strconv.Itoa(n) {
				t.Fatalf("line %d is %q", n, scan.Text())
			}
		}
		if n != lines {
			t.Errorf("%d lines of %d were shown", n, lines)
		}
		files, err := filepath.Glob(h.logGlob(p, 0) + "*")
		if err != nil || len(files) < 3 || len(files) > logs.DefaultRotation().Files {
			t.Errorf("the log is in %v (%v)", files, err)
		}
		h.delete("much")
	})
	h.run("of what has not started", func(t *testing.T) {
		for _, c := range []struct{ pod, want string }{
			{"mount", `container "c" in pod "mount" is waiting to start: ContainerCreating`},
			{"stuck", `container "c" in pod "stuck" is waiting to start: PodInitializing`},
			{"image", `container "c" in pod "image" is waiting to start: ErrImageNeverPull`},
		} {
			_, err := h.client.CoreV1().Pods("default").GetLogs(c.pod, &v1.PodLogOptions{Container: "c"}).Stream(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", c.pod, err, c.want)
			}
		}
	})
}

func TestLogsAreRotatedAsTheNodeWasTold(t *testing.T) {
	h := start(t, "--container-log-max-size", "64Ki", "--container-log-max-files", "3")
	h.create("much", `{restartPolicy: Never, containers: [{name: c, command: [sh, -ec, 'busybox seq 100000']}]}`)
	p := h.wait("much", "to succeed", phase(v1.PodSucceeded))
	files, err := filepath.Glob(h.logGlob(p, 0) + "*")
	if err != nil || len(files) != 3 {
		t.Errorf("the log is in %v (%v)", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 65<<10 {
			t.Errorf("%s: %v, %v", f, info.Size(), err)
		}
	}
	if out := h.logs("much", v1.PodLogOptions{}); !strings.HasSuffix(out, "\n99999\n100000\n") {
		t.Errorf("the log ends with %q", out[max(0, len(out)-50):])
	}
	// Told otherwise, it does so for containers that run on, too.
	h.create("slow", `{containers: [{name: c, command: [sh, -ec, 'while :; do busybox seq 1000; sleep 0.1; done']}]}`)
	h.wait("slow", "to be ready", ready)
	h.killNode()
	h.flags = append(h.flags, "--container-log-max-size", "16Ki", "--container-log-max-files", "5")
	h.startNode()
	h.eventually("its log to be in five small files", func() (bool, string) {
		files, _ := filepath.Glob(h.logGlob(h.get("slow"), 0) + ".*")
		small := 0
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.Size() < 17<<10 {
				small++
			}
		}
		return small == 4 && len(files) == 4, fmt.Sprint(files)
	})
}

func TestAnEphemeralContainerLooksIntoAPod(t *testing.T) {
	h := start(t)
	for _, users := range []string{"true", "false"} {
		h.run("with hostUsers "+users, func(t *testing.T) { h.looksInto(t, users) })
	}
}

func (h *host) looksInto(t *testing.T, users string) {
	h.create("p", `{hostUsers: `+users+`, containers: [{name: c, command: [sleep, "1000"], env: [{name: MARK, value: here}]}]}`)
	h.wait("p", "to be ready", ready)
	add := func(name, target string, command ...string) {
		t.Helper()
		p := h.get("p")
		e := v1.EphemeralContainer{TargetContainerName: target}
		e.Name, e.Image, e.Command, e.Stdin = name, testImage, command, true
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, e)
		if _, err := h.client.CoreV1().Pods("default").UpdateEphemeralContainers(h.ctx(), "p", p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	state := func(name string) *v1.ContainerState {
		for _, s := range h.get("p").Status.EphemeralContainerStatuses {
			if s.Name == name {
				return &s.State
			}
		}
		return &v1.ContainerState{}
	}
	add("alone", "", "sh", "-c", "ps -o args; exit 3")
	h.eventually("it to end", func() (bool, string) { s := state("alone"); return s.Terminated != nil, s.String() })
	if code := state("alone").Terminated.ExitCode; code != 3 {
		t.Errorf("it ended with %d, want 3", code)
	}
	if out := h.logs("p", v1.PodLogOptions{Container: "alone"}); strings.Contains(out, "sleep 1000") {
		t.Errorf("without a target it sees others' processes:\n%s", out)
	}
	add("beside", "c", "sh", "-c", "ps -o args; tr '\\0' '\\n' </proc/1/environ | grep MARK; sleep 1000")
	h.eventually("it to run", func() (bool, string) { s := state("beside"); return s.Running != nil, s.String() })
	h.eventually("it to have written", func() (bool, string) {
		out := h.logs("p", v1.PodLogOptions{Container: "beside"})
		return strings.Contains(out, "sleep 1000") && strings.Contains(out, "MARK=here"), out
	})
	if out := h.exec("p:beside", "cat", "/proc/1/cmdline"); !strings.HasPrefix(out, "sleep") {
		t.Errorf("a command in it sees as first process %q", out)
	}
	if own := strings.Fields(h.exec("p:beside", "cat", "/proc/self/uid_map"))[1] != "0"; own != (users == "false") {
		t.Errorf("it has user IDs of its own: %v", own)
	}
	p := h.get("p")
	if !ready(p) || p.Status.ContainerStatuses[0].RestartCount > 0 {
		t.Error("the Pod itself was touched")
	}

	// The daemon may be killed: what runs is taken over, what has ended is not run again.
	h.killNode()
	h.startNode()
	h.eventually("the node to answer again", func() (bool, string) {
		b, err := h.client.CoreV1().Pods("default").GetLogs("p", &v1.PodLogOptions{Container: "beside"}).DoRaw(h.ctx())
		return err == nil, string(b)
	})
	if s := state("beside"); s.Running == nil {
		t.Errorf("after a restart of the daemon it is %v", s)
	}
	if s := state("alone"); s.Terminated == nil || s.Terminated.ExitCode != 3 {
		t.Errorf("after a restart of the daemon the one that had ended is %v", s)
	}
	h.delete("p")
	h.waitGone("p")
}

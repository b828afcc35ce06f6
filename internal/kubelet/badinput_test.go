package kubelet_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"
)

func TestBadInputIsToldOfAndHarmsNobodyElse(t *testing.T) {
	reg := serveRegistry(t, "", "")
	h := start(t)
	h.create("bystander", `{containers: [{name: c}]}`)
	bystander := h.wait("bystander", "to be ready", ready)

	h.run("an image whose configuration is broken", func(t *testing.T) {
		img := busyboxImage(t)
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cfg = cfg.DeepCopy()
		cfg.RootFS.DiffIDs = nil // its layers are nobody's
		cfg.Config.User = "nobody-knows:whom"
		if img, err = mutate.ConfigFile(img, cfg); err != nil {
			t.Fatal(err)
		}
		reg.push("broken:1", img)
		h.create("broken", fmt.Sprintf(`{containers: [{name: c, image: "%s/broken:1"}]}`, reg.addr))
		p := h.wait("broken", "to wait", waiting("ErrImagePull"))
		if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, reg.addr+"/broken:1") {
			t.Errorf("it says %s", m)
		}
		h.told("broken", "Failed", "Failed to pull image")
		h.delete("broken")
	})

	h.run("an image whose user is in no account file", func(t *testing.T) {
		img := busyboxImage(t)
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cfg = cfg.DeepCopy()
		cfg.Config.User = "whom"
		if img, err = mutate.ConfigFile(img, cfg); err != nil {
			t.Fatal(err)
		}
		reg.push("user:1", img)
		h.create("user", fmt.Sprintf(`{containers: [{name: c, image: "%s/user:1"}]}`, reg.addr))
		p := h.wait("user", "to wait", waiting("CreateContainerConfigError"))
		if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, `"whom"`) || !strings.Contains(m, "/etc/passwd") {
			t.Errorf("it says %s", m)
		}
		h.told("user", "Failed", "/etc/passwd")
		h.delete("user")
	})

	h.run("an entry point that is missing, and one that is a directory", func(t *testing.T) {
		for name, command := range map[string]string{"missing": "/no/such/program", "directory": "/etc"} {
			h.create(name, `{restartPolicy: Never, containers: [{name: c, command: [`+command+`]}]}`)
			p := h.wait(name, "to fail", phase(v1.PodFailed))
			end := p.Status.ContainerStatuses[0].State.Terminated
			if end == nil || end.Reason != "StartError" || end.ExitCode != 128 || !strings.Contains(end.Message, command) {
				t.Errorf("%s: it ended with %+v", name, end)
			}
			h.told(name, "Failed", command)
		}
	})

	h.run("an exec that hangs ends with its caller, and a probe that hangs with its time", func(t *testing.T) {
		h.create("hangs", `{terminationGracePeriodSeconds: 0, containers: [{name: c, readinessProbe: {exec: {command: [sleep, "1000"]}, timeoutSeconds: 1, periodSeconds: 1}},
  {name: d, livenessProbe: {exec: {command: [sleep, "1001"]}, timeoutSeconds: 1, periodSeconds: 1, failureThreshold: 1}}]}`)
		h.told("hangs", "Unhealthy", "Readiness probe failed: command timed out")
		h.told("hangs", "Unhealthy", "Liveness probe failed: command timed out")
		p := h.wait("hangs", "to have its container started again", func(p *v1.Pod) bool { return p.Status.ContainerStatuses[1].RestartCount > 0 })
		if p.Status.ContainerStatuses[0].Ready {
			t.Error("the container whose probe hangs is ready")
		}
		// Whatever a probe started is gone when its time is over.
		h.eventually("at most the last probe's process to be there", func() (bool, string) {
			n := strings.Count(h.exec("hangs:c", "ps"), "sleep 1000")
			return n <= 2, fmt.Sprint(n) // the container's own is sleep 100000, which counts too
		})
		ctx, leave := context.WithCancel(h.ctx())
		left := make(chan error, 1)
		go func() {
			left <- h.streamUntil(ctx, "exec", "hangs", &v1.PodExecOptions{Container: "c", Command: []string{"sleep", "2000"}, Stdout: true}, remotecommand.StreamOptions{Stdout: io.Discard})
		}()
		hanging := func() bool { return strings.Contains(h.exec("hangs:c", "ps"), "sleep 2000") }
		h.eventually("the command to run", func() (bool, string) { return hanging(), "it does not" })
		leave()
		if err := <-left; err == nil {
			t.Error("a command that hangs ended well")
		}
		h.eventually("the command to have ended with its caller", func() (bool, string) { return !hanging(), "it runs on" })
		h.delete("hangs")
		h.waitGone("hangs")
	})

	h.run("a log of very long lines and of anything but text", func(t *testing.T) {
		h.create("noise", `{restartPolicy: Never, containers: [{name: c, command: [sh, -c, 'head -c 1000000 /dev/zero | tr "\0" x; echo; head -c 100000 /dev/urandom; echo; printf "a\0b\377\n"; echo end']}]}`)
		h.wait("noise", "to end", phase(v1.PodSucceeded))
		raw, err := h.client.CoreV1().Pods("default").GetLogs("noise", &v1.PodLogOptions{}).DoRaw(h.ctx())
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := bytes.Cut(raw, []byte("\n"))
		if len(first) != 1000000 || len(bytes.Trim(first, "x")) > 0 {
			t.Errorf("the first line has %d bytes", len(first))
		}
		if !bytes.HasSuffix(rest, []byte("\na\x00b\xff\nend\n")) || len(rest) != 100000+1+5+4 {
			t.Errorf("after it come %d bytes, ending with %q", len(rest), rest[max(0, len(rest)-20):])
		}
		tail, err := h.client.CoreV1().Pods("default").GetLogs("noise", &v1.PodLogOptions{TailLines: new(int64(1))}).DoRaw(h.ctx())
		if err != nil || string(tail) != "end\n" {
			t.Errorf("its end is %q, %v", tail, err)
		}
	})

	h.run("a volume's path that leads out of it", func(t *testing.T) {
		// The first container plants links in the volume; the second would follow them.
		h.create("escape", `{restartPolicy: Never, volumes: [{name: v, emptyDir: {}}],
initContainers: [{name: plant, command: [sh, -c, 'busybox ln -s / /v/root; busybox ln -s ../../../../../../etc /v/etc; busybox ln -s /v/loop /v/loop'], volumeMounts: [{name: v, mountPath: /v}]}],
containers: [{name: absolute, volumeMounts: [{name: v, mountPath: /x, subPath: root}]}, {name: relative, volumeMounts: [{name: v, mountPath: /x, subPath: etc}]}, {name: below, volumeMounts: [{name: v, mountPath: /x, subPath: root/tmp/made-by-escape}]},
  {name: loop, volumeMounts: [{name: v, mountPath: /x, subPath: loop}]}]}`)
		p := h.wait("escape", "to be refused", func(p *v1.Pod) bool {
			for _, c := range p.Status.ContainerStatuses {
				if c.State.Waiting == nil || c.State.Waiting.Reason != "CreateContainerConfigError" {
					return false
				}
			}
			return len(p.Status.ContainerStatuses) == 4
		})
		for _, c := range p.Status.ContainerStatuses {
			if m := c.State.Waiting.Message; !strings.Contains(m, "subPath") || !strings.Contains(m, "/x") {
				t.Errorf("%s says %s", c.Name, m)
			}
		}
		if _, err := os.Stat("/tmp/made-by-escape"); err == nil {
			t.Error("a directory was made on the host")
			os.Remove("/tmp/made-by-escape")
		}
		h.told("escape", "Failed", "subPath")
		h.delete("escape")
	})

	h.run("a symbolic link that is swapped while containers are made", func(t *testing.T) {
		secret := filepath.Join(h.dir, "secret")
		if err := os.Mkdir(secret, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(secret, "key"), []byte("stolen"), 0o644); err != nil {
			t.Fatal(err)
		}
		h.create("swap", fmt.Sprintf(`{volumes: [{name: v, emptyDir: {}}], restartPolicy: Always,
containers: [{name: attacker, command: [sh, -c, 'cd /v; busybox mkdir real; while :; do busybox ln -sfn real sub; busybox ln -sfn %s sub; done'], volumeMounts: [{name: v, mountPath: /v}]},
  {name: victim, command: [sh, -c, 'ls /x; sleep 0.1; exit 1'], volumeMounts: [{name: v, mountPath: /x, subPath: sub}]}]}`, secret))
		h.wait("swap", "to have tried some times", func(p *v1.Pod) bool {
			for _, c := range p.Status.ContainerStatuses {
				if c.Name == "victim" {
					return c.RestartCount > 0 || c.State.Waiting != nil && c.State.Waiting.Reason == "CreateContainerConfigError"
				}
			}
			return false
		})
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			files, _ := filepath.Glob(filepath.Join(h.dir, "logs", "default_swap_*", "victim", "*.log"))
			for _, f := range files {
				if b, _ := os.ReadFile(f); bytes.Contains(b, []byte("key")) {
					t.Fatal("the container saw what lies outside of its volume")
				}
			}
		}
		h.delete("swap")
	})

	if now := h.get("bystander"); now.Status.ContainerStatuses[0].ContainerID != bystander.Status.ContainerStatuses[0].ContainerID || !ready(now) {
		t.Error("the Pod that had nothing to do with it was touched")
	}
}

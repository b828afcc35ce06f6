package kubelet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPodsRunAsTheirSpecSays(t *testing.T) {
	h := start(t)
	ctx := h.ctx()
	for _, obj := range []any{
		&v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm"}, Data: map[string]string{"a": "1", "file.txt": "text"}},
		&v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "sec"}, Data: map[string][]byte{"pw": []byte("geheim")}},
	} {
		var err error
		switch o := obj.(type) {
		case *v1.ConfigMap:
			_, err = h.client.CoreV1().ConfigMaps("default").Create(ctx, o, metav1.CreateOptions{})
		case *v1.Secret:
			_, err = h.client.CoreV1().Secrets("default").Create(ctx, o, metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	h.run("a host port is given to one Pod, and to the next when that is over", func(t *testing.T) {
		// With a grace period the API has a Pod until it has ended; without, it may be gone there while it still has its port here.
		const spec = `
terminationGracePeriodSeconds: 1
containers:
- {name: c, command: [sleep, "1000"], ports: [{containerPort: 80, hostPort: 8099}]}
`
		h.create("holder", spec)
		// Pods that name their node: the scheduler, which would have the second one wait, is not asked.
		node := "nodeName: " + h.wait("holder", "ready", ready).Spec.NodeName
		h.create("second", spec+node)
		if p := h.wait("second", "failed", phase(v1.PodFailed)); p.Status.Reason != "NodePorts" || !strings.Contains(p.Status.Message, "default/holder") {
			t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
		}
		h.delete("second")
		h.waitGone("second")
		h.delete("holder")
		h.waitGone("holder")
		h.create("third", spec+node)
		h.wait("third", "ready", ready)
		h.delete("third")
	})
	h.run("environment, volumes and files", func(t *testing.T) {
		h.create("all", `
restartPolicy: Never
securityContext: {fsGroup: 2000}
hostname: name
initContainers:
- {name: init, command: [sh, -c, "echo from-init > /work/x"], volumeMounts: [{name: work, mountPath: /work}]}
volumes:
- {name: work, emptyDir: {}}
- {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: cm, configMap: {name: cm}}
- {name: sec, secret: {secretName: sec, defaultMode: 0400}}
- {name: tok, projected: {sources: [{serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}
containers:
- name: c
  env:
  - {name: A, valueFrom: {configMapKeyRef: {name: cm, key: a}}}
  - {name: B, value: "<$(A)>"}
  - {name: PW, valueFrom: {secretKeyRef: {name: sec, key: pw}}}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  securityContext: {runAsUser: 101, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false}
  command: [sh, -c]
  args: ['echo $A $B $PW $FROM_IMAGE; id; hostname; cat /work/x /cm/file.txt /one /sec/pw /tok/name; echo; wc -c < /tok/token; echo $IP; tail -1 /etc/hosts; echo y > /mem/y && cat /mem/y; (echo x > /x) 2>&1; echo bye > /dev/termination-log']
  volumeMounts:
  - {name: work, mountPath: /work}
  - {name: mem, mountPath: /mem}
  - {name: cm, mountPath: /cm}
  - {name: cm, mountPath: /one, subPath: file.txt}
  - {name: sec, mountPath: /sec}
  - {name: tok, mountPath: /tok}
`)
		p := h.wait("all", "to succeed", phase(v1.PodSucceeded))
		lines := strings.Split(strings.TrimSpace(h.logs("all", v1.PodLogOptions{Container: "c"})), "\n")
		ip := p.Status.PodIP
		if len(lines) < 6 {
			t.Fatalf("log: %q", lines)
		}
		if len(lines[5]) < 3 {
			t.Errorf("the token has %s bytes", lines[5])
		}
		lines[5] = "(a token)"
		want := []string{"1 <1> geheim yes", "uid=101(web) gid=102 groups=300(extra),2000", "name", "from-init", "texttextgeheimall", "(a token)", ip, ip + "\tname", "y", "sh: can't create /x: Read-only file system"}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		c := p.Status.ContainerStatuses[0].State.Terminated
		if c == nil || c.Reason != "Completed" || c.Message != "bye\n" {
			t.Errorf("terminated: %+v", c)
		}
	})

	h.run("ends are told by the reasons that kubectl users know", func(t *testing.T) {
		h.create("oom", `{restartPolicy: Never, containers: [{name: c, command: [sh, -c, 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done'], resources: {limits: {memory: 16Mi}}}]}`)
		h.create("fails", `{restartPolicy: Never, containers: [{name: c, terminationMessagePolicy: FallbackToLogsOnError, command: [sh, -c, 'echo -n last words; exit 3']}]}`)
		h.create("nofile", `{restartPolicy: Never, containers: [{name: c, command: [/no/such/program]}]}`)
		h.create("loop", `{containers: [{name: c, command: [sh, -c, 'exit 1']}]}`)
		h.create("noimage", `{containers: [{name: c, image: "192.0.2.10:9/none:1"}]}`)
		h.create("never", `{containers: [{name: c, image: "registry.example/none:1", imagePullPolicy: Never}]}`)
		h.create("badname", `{containers: [{name: c, image: "registry.example/Bad"}]}`)
		h.create("noconfig", `{containers: [{name: c, envFrom: [{configMapRef: {name: later}}]}]}`)
		h.create("novolume", `{volumes: [{name: v, configMap: {name: later}}], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}]}`)
		for pod, want := range map[string]string{"oom": "OOMKilled 137", "fails": "Error 3", "nofile": "StartError 128"} {
			p := h.wait(pod, "to fail", phase(v1.PodFailed))
			end := p.Status.ContainerStatuses[0].State.Terminated
			if got := fmt.Sprintf("%s %d", end.Reason, end.ExitCode); got != want {
				t.Errorf("Pod %s: %s, want %s", pod, got, want)
			}
			if pod == "fails" && end.Message != "last words" {
				t.Errorf("its message is %q", end.Message)
			}
		}
		for pod, reason := range map[string]string{"loop": "CrashLoopBackOff", "noimage": "ImagePullBackOff", "never": "ErrImageNeverPull", "badname": "InvalidImageName", "noconfig": "CreateContainerConfigError", "novolume": "ContainerCreating"} {
			h.wait(pod, "to wait as "+reason, waiting(reason))
		}
		for pod, reason := range map[string]string{"loop": "BackOff", "noimage": "BackOff", "never": "ErrImageNeverPull", "novolume": "FailedMount", "nofile": "Failed"} {
			h.event(pod, reason)
		}
		// What was missing comes: the Pods run without anybody touching them.
		if _, err := h.client.CoreV1().ConfigMaps("default").Create(h.ctx(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "later"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.wait("noconfig", "to be ready", ready)
		h.wait("novolume", "to be ready", ready)
	})

	h.run("probes and hooks", func(t *testing.T) {
		h.create("probed", `
containers:
- name: c
  command: [sh, -c, 'echo ok > /www/index.html; sleep 0.2; exec httpd -f -p 8080 -h /www']
  startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 10}
  readinessProbe: {httpGet: {path: /index.html, port: web}, periodSeconds: 1, failureThreshold: 1}
  livenessProbe: {exec: {command: [test, "!", -e, /dead]}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 20}
  ports: [{name: web, containerPort: 8080}]
  lifecycle:
    postStart: {exec: {command: [sh, -c, 'echo post > /started']}}
    preStop: {exec: {command: [sh, -c, 'echo stopping > /proc/1/fd/1']}}
`)
		began := time.Now()
		h.wait("probed", "to be ready", ready)
		if took := time.Since(began); took > 9*time.Second {
			t.Errorf("it took %v to be found ready, nearly the startup probe's whole period", took)
		}
		if out := h.exec("probed", "cat", "/started"); out != "post\n" {
			t.Errorf("the postStart hook left %q", out)
		}
		h.exec("probed", "sh", "-c", "rm -f /www/index.html || busybox rm /www/index.html")
		h.wait("probed", "to be unready", func(p *v1.Pod) bool { return !ready(p) && p.Status.ContainerStatuses[0].RestartCount == 0 })
		h.event("probed", "Unhealthy")
		h.exec("probed", "touch", "/dead")
		h.wait("probed", "to be restarted", func(p *v1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p) })
		if out := h.logs("probed", v1.PodLogOptions{Previous: true}); out != "stopping\n" {
			t.Errorf("the log of the container before ends in %q, want what its preStop hook wrote", out)
		}
	})

	h.run("a deleted Pod is given its time and leaves nothing", func(t *testing.T) {
		p := h.create("stays", `{terminationGracePeriodSeconds: 2, containers: [{name: c, command: [sh, -c, 'trap "echo ignored" TERM; while :; do sleep 0.1; done']}]}`)
		h.wait("stays", "to be ready", ready)
		began := time.Now()
		h.delete("stays")
		h.waitGone("stays")
		if took := time.Since(began); took < 2*time.Second || took > 20*time.Second {
			t.Errorf("it was gone after %v, want 2 s and a little", took)
		}
		h.nothingLeftOf(string(p.UID))
	})

	h.run("containers may share their processes", func(t *testing.T) {
		h.create("shared", `{shareProcessNamespace: true, containers: [{name: a, command: [sleep, "1111"]}, {name: b, command: [sleep, "2222"]}]}`)
		h.wait("shared", "to be ready", ready)
		if out := h.exec("shared:a", "ps"); !strings.Contains(out, "sleep 1111") || !strings.Contains(out, "sleep 2222") {
			t.Errorf("one container sees:\n%s", out)
		}
	})
}

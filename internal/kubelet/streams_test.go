package kubelet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
)

// exec runs a command in a container ("pod" or "pod:container") by way of the API server, and gives what it wrote.
func (h *host) exec(podName string, command ...string) string {
	h.t.Helper()
	out, err := h.tryExec(podName, command...)
	if err != nil {
		h.t.Fatalf("%q in %s: %v\n%s", command, podName, err, out)
	}
	return out
}

func (h *host) tryExec(podName string, command ...string) (string, error) {
	h.t.Helper()
	podName, container, _ := strings.Cut(podName, ":")
	var out, errOut bytes.Buffer
	err := h.stream("exec", podName, &v1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut})
	return out.String() + errOut.String(), err
}

// stream connects by WebSocket, as kubectl does nowadays.
func (h *host) stream(sub, podName string, params any, o remotecommand.StreamOptions) error {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx(), patience)
	defer cancel()
	return h.streamUntil(ctx, sub, podName, params, o)
}

// streamUntil is stream for a client that goes away when ctx ends.
func (h *host) streamUntil(ctx context.Context, sub, podName string, params any, o remotecommand.StreamOptions) error {
	h.t.Helper()
	req := h.client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(podName).SubResource(sub)
	switch p := params.(type) {
	case *v1.PodExecOptions:
		req = req.VersionedParams(p, scheme.ParameterCodec)
	case *v1.PodAttachOptions:
		req = req.VersionedParams(p, scheme.ParameterCodec)
	}
	x, err := remotecommand.NewWebSocketExecutor(h.config, "GET", req.URL().String())
	if err != nil {
		h.t.Fatal(err)
	}
	return x.StreamWithContext(ctx, o)
}

func TestStreamsReachContainersThroughTheAPIServer(t *testing.T) {
	h := start(t)
	h.create("p", `{containers: [{name: c, command: [sh, -c, 'echo out; echo err >&2; echo -n hello > /www/index.html; exec httpd -f -p 8080 -h /www']}]}`)
	h.wait("p", "to be ready", ready)

	h.run("exec passes input, output and exit status", func(t *testing.T) {
		var out, errOut bytes.Buffer
		err := h.stream("exec", "p", &v1.PodExecOptions{Command: []string{"sh", "-c", "cat; echo oh >&2; exit 7"}, Stdin: true, Stdout: true, Stderr: true},
			remotecommand.StreamOptions{Stdin: strings.NewReader("typed\n"), Stdout: &out, Stderr: &errOut})
		var code utilexec.CodeExitError
		if !errors.As(err, &code) || code.Code != 7 {
			t.Errorf("it ended with %v, want exit code 7", err)
		}
		if out.String() != "typed\n" || errOut.String() != "oh\n" {
			t.Errorf("stdout %q, stderr %q", out.String(), errOut.String())
		}
		if err := h.stream("exec", "p", &v1.PodExecOptions{Command: []string{"/none"}, Stdout: true}, remotecommand.StreamOptions{Stdout: io.Discard}); err == nil {
			t.Error("a program that is not there was run")
		}
	})

	h.run("exec with a terminal has its size", func(t *testing.T) {
		var out bytes.Buffer
		sizes := make(sizeQueue, 1)
		sizes <- remotecommand.TerminalSize{Width: 99, Height: 33}
		if err := h.stream("exec", "p", &v1.PodExecOptions{Command: []string{"sh", "-c", "while test \"$(stty size 2>/dev/null)\" != '33 99'; do sleep 0.05; done; stty size"}, Stdin: true, Stdout: true, TTY: true},
			remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: &out, Tty: true, TerminalSizeQueue: sizes}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "33 99") {
			t.Errorf("the terminal said %q", out.String())
		}
	})

	h.run("attach", func(t *testing.T) {
		h.create("cat", `{restartPolicy: Never, containers: [{name: c, command: [cat], stdin: true, stdinOnce: true}]}`)
		h.wait("cat", "to be ready", ready)
		var out bytes.Buffer
		if err := h.stream("attach", "cat", &v1.PodAttachOptions{Stdin: true, Stdout: true}, remotecommand.StreamOptions{Stdin: strings.NewReader("through\n"), Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		if out.String() != "through\n" {
			t.Errorf("got %q", out.String())
		}
		h.wait("cat", "to end when its input has", phase(v1.PodSucceeded))
	})

	h.run("a port is forwarded", func(t *testing.T) {
		rt, up, err := spdy.RoundTripperFor(h.config)
		if err != nil {
			t.Fatal(err)
		}
		url := h.client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("p").SubResource("portforward").URL()
		stop, isUp := make(chan struct{}), make(chan struct{})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		f, err := portforward.NewOnAddresses(spdy.NewDialer(up, &http.Client{Transport: rt}, "POST", url), []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:8080", port)}, stop, isUp, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- f.ForwardPorts() }()
		<-isUp
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/index.html", port))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "hello" {
			t.Errorf("got %q, %v", b, err)
		}
		close(stop)
		<-done
	})

	h.run("a followed log ends with its container", func(t *testing.T) {
		h.create("talks", `{restartPolicy: Never, containers: [{name: c, command: [sh, -c, 'for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done']}]}`)
		h.wait("talks", "to run", phase(v1.PodRunning))
		began := time.Now()
		s, err := h.client.CoreV1().Pods("default").GetLogs("talks", &v1.PodLogOptions{Follow: true}).Stream(h.ctx())
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(s)
		if err != nil || string(b) != "line 1\nline 2\nline 3\nline 4\nline 5\n" {
			t.Errorf("got %q, %v", b, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
	})

	h.run("part of a log", func(t *testing.T) {
		one := int64(1)
		out := h.logs("p", v1.PodLogOptions{TailLines: &one, Timestamps: true})
		stamp, text, _ := strings.Cut(strings.TrimSpace(out), " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil || text != "err" && text != "out" {
			t.Errorf("got %q", out)
		}
		_, err := h.client.CoreV1().Pods("default").GetLogs("p", &v1.PodLogOptions{Previous: true}).Stream(h.ctx())
		if err == nil || !strings.Contains(err.Error(), "previous terminated container") {
			t.Errorf("the log of a container that never was: %v", err)
		}
	})

	h.run("figures", func(t *testing.T) {
		// The administrator is of the group that the API server shows itself with.
		tlsConfig, err := rest.TLSConfigFor(h.config)
		if err != nil {
			t.Fatal(err)
		}
		tlsConfig.ServerName = "n1"
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}, Timeout: patience}
		for path, want := range map[string][]string{
			"/stats/summary":    {`"nodeName":"n1"`, `"workingSetBytes"`, `"name":"p"`},
			"/metrics/resource": {`container_memory_working_set_bytes{container="c",namespace="default",pod="p"}`, "node_cpu_usage_seconds_total "},
			"/metrics":          {"kubelet_running_pods "},
			"/pods":             {`"kind":"PodList"`, `"name":"p"`},
			"/healthz":          {"ok"},
		} {
			res, err := client.Get("https://" + hostIP + ":10250" + path)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			for _, w := range want {
				if err != nil || !bytes.Contains(b, []byte(w)) {
					t.Errorf("%s: %s, %v, want %s in it:\n%.300s", path, res.Status, err, w, b)
				}
			}
		}
	})

	h.run("nobody but the API server may ask the node", func(t *testing.T) {
		for _, path := range []string{"/pods", "/containerLogs/default/p/c", "/stats/summary"} {
			res, err := insecure.Get("https://" + hostIP + ":10250" + path)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s without a certificate: %s", path, res.Status)
			}
		}
	})
}

type sizeQueue chan remotecommand.TerminalSize

func (q sizeQueue) Next() *remotecommand.TerminalSize {
	s, ok := <-q
	if !ok {
		return nil
	}
	return &s
}

package kubelet_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
)

// protocols are the two ways in which clients stream: the older one, and the one that kubectl prefers nowadays.
var protocols = []string{"SPDY", "WebSocket"}

// streamBy connects by one of the protocols.
func (h *host) streamBy(protocol, sub, podName string, params any, o remotecommand.StreamOptions) error {
	h.t.Helper()
	if protocol == "WebSocket" {
		return h.stream(sub, podName, params, o)
	}
	req := h.client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(podName).SubResource(sub)
	switch p := params.(type) {
	case *v1.PodExecOptions:
		req = req.VersionedParams(p, scheme.ParameterCodec)
	case *v1.PodAttachOptions:
		req = req.VersionedParams(p, scheme.ParameterCodec)
	}
	x, err := remotecommand.NewSPDYExecutor(h.config, "POST", req.URL())
	if err != nil {
		h.t.Fatal(err)
	}
	return x.StreamWithContext(h.ctx(), o)
}

// waitsFor is output that somebody waits for.
type waitsFor struct {
	bytes.Buffer
	text  string
	found chan struct{}
}

func newWaitsFor(text string) *waitsFor { return &waitsFor{text: text, found: make(chan struct{})} }

func (w *waitsFor) Write(b []byte) (int, error) {
	had := strings.Contains(w.String(), w.text)
	n, err := w.Buffer.Write(b)
	if !had && strings.Contains(w.String(), w.text) {
		close(w.found)
	}
	return n, err
}

func TestStreamsWorkByEitherProtocol(t *testing.T) {
	h := start(t)
	h.create("p", `{containers: [{name: c, command: [sh, -c, 'mkdir -p /in; exec httpd -f -p 8080 -h /bin']}]}`)
	h.wait("p", "to be ready", ready)
	for i, protocol := range protocols {
		h.run(protocol, func(t *testing.T) {
			h.run("exec passes the exit code on", func(t *testing.T) {
				for _, want := range []int{0, 1, 127} {
					err := h.streamBy(protocol, "exec", "p", &v1.PodExecOptions{Command: []string{"sh", "-c", fmt.Sprint("exit ", want)}, Stdout: true, Stderr: true},
						remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
					var code utilexec.CodeExitError
					if (want == 0) != (err == nil) || err != nil && (!errors.As(err, &code) || code.Code != want) {
						t.Errorf("exit code %d came as %v", want, err)
					}
				}
			})
			h.run("exec's input ends when its client's does", func(t *testing.T) {
				var out bytes.Buffer
				if err := h.streamBy(protocol, "exec", "p", &v1.PodExecOptions{Command: []string{"wc", "-c"}, Stdin: true, Stdout: true, Stderr: true},
					remotecommand.StreamOptions{Stdin: strings.NewReader(strings.Repeat("x", 100_000)), Stdout: &out, Stderr: io.Discard}); err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSpace(out.String()); got != "100000" {
					t.Errorf("of 100000 bytes %s arrived", got)
				}
			})
			h.run("files are copied there and back as kubectl cp does", func(t *testing.T) { h.copyFiles(protocol) })
			h.run("attach to a terminal", func(t *testing.T) { h.attachTerminal(protocol, fmt.Sprint("tty", i)) })
			h.run("attach sees what is written from then on", func(t *testing.T) { h.attachOutput(protocol, fmt.Sprint("out", i)) })
			h.run("a port is forwarded, and one that nobody listens on is told of", func(t *testing.T) { h.forward(protocol) })
		})
	}
	h.run("what cannot be streamed says why", func(t *testing.T) {
		h.create("pending", `{containers: [{name: c, command: [sleep, "100"]}], volumes: [{name: v, configMap: {name: none}}]}`)
		h.wait("pending", "to be bound", func(p *v1.Pod) bool { return p.Spec.NodeName != "" })
		for _, c := range []struct{ pod, container, want string }{
			{"pending", "c", "container c of pod pending does not run"},
			{"p", "none", "container none is not valid for pod p"},
			{"gone", "c", `pods "gone" not found`},
		} {
			err := h.stream("exec", c.pod, &v1.PodExecOptions{Container: c.container, Command: []string{"true"}, Stdout: true}, remotecommand.StreamOptions{Stdout: io.Discard})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("exec in %s/%s: %v, want %q in it", c.pod, c.container, err, c.want)
			}
		}
	})
}

// copyFiles sends an archive to a tar in the container, and has it sent back by another.
func (h *host) copyFiles(protocol string) {
	data := make([]byte, 3<<20)
	if _, err := rand.Read(data); err != nil {
		h.t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(data))}); err != nil {
		h.t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		h.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		h.t.Fatal(err)
	}
	var errOut bytes.Buffer
	if err := h.streamBy(protocol, "exec", "p", &v1.PodExecOptions{Command: []string{"tar", "-xmf", "-", "-C", "/in"}, Stdin: true, Stdout: true, Stderr: true},
		remotecommand.StreamOptions{Stdin: &archive, Stdout: io.Discard, Stderr: &errOut}); err != nil {
		h.t.Fatalf("unpacking: %v: %s", err, errOut.String())
	}
	var back bytes.Buffer
	if err := h.streamBy(protocol, "exec", "p", &v1.PodExecOptions{Command: []string{"tar", "cf", "-", "-C", "/in", "file"}, Stdout: true, Stderr: true},
		remotecommand.StreamOptions{Stdout: &back, Stderr: io.Discard}); err != nil {
		h.t.Fatal(err)
	}
	r := tar.NewReader(&back)
	if _, err := r.Next(); err != nil {
		h.t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		h.t.Errorf("what came back is not what was sent: %d bytes of %d, %v", len(got), len(data), err)
	}
}

// attachTerminal types into a shell: its terminal has the client's size, also after that has changed.
func (h *host) attachTerminal(protocol, name string) {
	h.create(name, `{restartPolicy: Never, containers: [{name: c, command: [sh], stdin: true, tty: true}]}`)
	h.wait(name, "to be ready", ready)
	in, typed := io.Pipe()
	sizes := make(sizeQueue, 1)
	sizes <- remotecommand.TerminalSize{Width: 101, Height: 41}
	first, second := newWaitsFor("seen 41 times 101"), newWaitsFor("seen 42 times 102")
	done := make(chan error, 1)
	go func() {
		done <- h.streamBy(protocol, "attach", name, &v1.PodAttachOptions{Stdin: true, Stdout: true, TTY: true},
			remotecommand.StreamOptions{Stdin: in, Stdout: io.MultiWriter(first, second), Tty: true, TerminalSizeQueue: sizes})
	}()
	// What is typed is echoed, so the answer is spelled in another way than the question.
	until := func(rows, columns int, w *waitsFor) {
		fmt.Fprintf(typed, "while test \"$(stty size)\" != '%d %d'; do sleep 0.05; done; echo seen $((%d+1)) times %d\n", rows, columns, rows-1, columns)
		select {
		case <-w.found:
		case err := <-done:
			h.t.Fatalf("attaching ended: %v\n%s", err, w.String())
		case <-time.After(patience):
			h.t.Fatalf("the terminal never had %d rows and %d columns:\n%s", rows, columns, w.String())
		}
	}
	until(41, 101, first)
	sizes <- remotecommand.TerminalSize{Width: 102, Height: 42}
	until(42, 102, second)
	fmt.Fprint(typed, "exit 5\n")
	if err := <-done; err != nil {
		h.t.Errorf("attaching ended with %v", err)
	}
	p := h.wait(name, "to fail", phase(v1.PodFailed))
	if code := p.Status.ContainerStatuses[0].State.Terminated.ExitCode; code != 5 {
		h.t.Errorf("the shell ended with %d, want the 5 that was typed", code)
	}
}

// attachOutput listens to a container that writes to both streams.
func (h *host) attachOutput(protocol, name string) {
	h.create(name, `{restartPolicy: Never, containers: [{name: c, stdin: true, stdinOnce: true, command: [sh, -c, 'read line; echo "out $line"; echo "err $line" >&2']}]}`)
	h.wait(name, "to be ready", ready)
	var out, errOut bytes.Buffer
	if err := h.streamBy(protocol, "attach", name, &v1.PodAttachOptions{Stdin: true, Stdout: true, Stderr: true},
		remotecommand.StreamOptions{Stdin: strings.NewReader("hello\n"), Stdout: &out, Stderr: &errOut}); err != nil {
		h.t.Fatal(err)
	}
	if out.String() != "out hello\n" || errOut.String() != "err hello\n" {
		h.t.Errorf("stdout %q, stderr %q", out.String(), errOut.String())
	}
}

// forward opens two local ports: one to a server, one to nobody.
func (h *host) forward(protocol string) {
	at := h.client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("p").SubResource("portforward").URL()
	stop, isUp := make(chan struct{}), make(chan struct{})
	defer close(stop)
	// The library tells of a forwarded connection that failed by its handlers of errors only, and ends then; kubectl shows just that.
	said := make(chan string, 10)
	before := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = []utilruntime.ErrorHandler{func(_ context.Context, err error, what string, _ ...any) { said <- fmt.Sprint(what, ": ", err) }}
	defer func() { utilruntime.ErrorHandlers = before }()
	f := h.forwarder(protocol, at, stop, isUp)
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	select {
	case <-isUp:
	case err := <-done:
		h.t.Fatal(err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		h.t.Fatal(err)
	}
	for range 3 {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/busybox", ports[0].Local))
		if err != nil {
			h.t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || n < 100_000 || n != res.ContentLength {
			h.t.Errorf("%d of %d bytes arrived: %v", n, res.ContentLength, err)
		}
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[1].Local))
	if err != nil {
		h.t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); len(b) > 0 {
		h.t.Errorf("from a port that nobody listens on came %q, %v", b, err)
	}
	conn.Close()
	select {
	case what := <-said:
		if !strings.Contains(what, "port 9 of pod p: dial tcp") || !strings.Contains(what, "connection refused") {
			h.t.Errorf("of the port that nobody listens on is said: %s", what)
		}
	case <-time.After(patience):
		h.t.Fatal("nothing is said of the port that nobody listens on")
	}
	<-done
}

// forwarder forwards two ports of the Pod: one with a server, one with nobody.
func (h *host) forwarder(protocol string, at *url.URL, stop, isUp chan struct{}) *portforward.PortForwarder {
	h.t.Helper()
	addresses, ports := []string{"127.0.0.1"}, []string{":8080", ":9"}
	var f *portforward.PortForwarder
	if protocol == "WebSocket" {
		d, err := portforward.NewSPDYOverWebsocketDialer(at, h.config)
		if err != nil {
			h.t.Fatal(err)
		}
		if f, err = portforward.NewOnAddresses(d, addresses, ports, stop, isUp, io.Discard, io.Discard); err != nil {
			h.t.Fatal(err)
		}
		return f
	}
	rt, up, err := spdy.RoundTripperFor(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	if f, err = portforward.NewOnAddresses(spdy.NewDialer(up, &http.Client{Transport: rt}, "POST", at), addresses, ports, stop, isUp, io.Discard, io.Discard); err != nil {
		h.t.Fatal(err)
	}
	return f
}

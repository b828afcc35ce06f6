package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/gitopsd/gitopsd/internal/hangup"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/namespaces"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
)

type tlsConn = *tls.Conn

// How long a stream may be silent, and a client take to open its streams: upstream's defaults.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = remotecommand.DefaultStreamCreationTimeout
)

// running gives the ID of a running container, or answers why there is none.
func (s *Server) running(w http.ResponseWriter, r *http.Request) (*v1.Pod, *v1.ContainerStatus, string) {
	p, c := s.find(w, r, r.PathValue("container"))
	if c == nil {
		return nil, nil, ""
	}
	if c.State.Running == nil {
		http.Error(w, fmt.Sprintf("container %s of pod %s does not run; see `kubectl describe pod %s`", c.Name, p.Name, p.Name), http.StatusBadRequest)
		return nil, nil, ""
	}
	return p, c, strings.TrimPrefix(c.ContainerID, "containerd://")
}

// exec runs a command in a container and connects it with the client. It is killed if the client goes away.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	p, c, id := s.running(w, r)
	if c == nil {
		return
	}
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w, r, cancel := hangup.Watch(w, r)
	defer cancel()
	remotecommand.ServeExec(w, r, executor{s.Runtime}, p.Name, string(p.UID), id, r.URL.Query()["command"], opts, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

type executor struct{ runtime *runtime.Runtime }

var _ remotecommand.Executor = executor{}

// ExecInContainer is called by the streaming library with the streams that the client opened.
func (e executor) ExecInContainer(ctx context.Context, _, _, id string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	x := runtime.Exec{Command: cmd, TTY: tty, Resize: sizes(ctx, resize)}
	// An interface that holds a nil stream is not nil; leave out what the client did not open.
	if in != nil {
		x.Stdin = in
	}
	if out != nil {
		x.Stdout = out
	}
	if errOut != nil {
		x.Stderr = errOut
	}
	status, err := e.runtime.Exec(ctx, id, x)
	finish(out, errOut)
	if err == nil && status != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", status), Code: int(status)}
	}
	return err
}

// finish closes the output streams, so that the other end sees all that was written before it sees the connection end: one that ends with
// data still under way may lose it, since the SPDY library reads its streams and their end in no order.
func finish(streams ...io.WriteCloser) {
	for _, s := range streams {
		if s != nil {
			s.Close()
		}
	}
}

// sizes passes terminal sizes on in this project's own type.
func sizes(ctx context.Context, in <-chan remotecommand.TerminalSize) <-chan runtime.Size {
	if in == nil {
		return nil
	}
	out := make(chan runtime.Size)
	go func() {
		defer close(out)
		for s := range in {
			select {
			case out <- runtime.Size{Width: s.Width, Height: s.Height}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// attach connects the client with a container's own process.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	p, c, id := s.running(w, r)
	if c == nil {
		return
	}
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	spec := containerSpec(p, c.Name)
	opts.TTY = spec.TTY // there is one terminal, or none, whatever the client would like
	if spec.TTY {
		opts.Stderr = false
	}
	opts.Stdin = opts.Stdin && spec.Stdin
	w, r, cancel := hangup.Watch(w, r)
	defer cancel()
	remotecommand.ServeAttach(w, r, attacher{s, spec}, p.Name, string(p.UID), id, opts, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

// containerSpec gives a container of any kind by its name; nil if there is none.
func containerSpec(p *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if e := &p.Spec.EphemeralContainers[i]; e.Name == name {
			return lifecycle.Ephemeral(e)
		}
	}
	return nil
}

type attacher struct {
	s    *Server
	spec *v1.Container
}

var _ remotecommand.Attacher = attacher{}

// AttachContainer is called by the streaming library with the streams that the client opened.
func (a attacher) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, errOut io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	attached := func() {}
	if in != nil {
		streams, err := a.s.Logs.Streams(id)
		if err != nil {
			return err
		}
		// The shim holds the pipe open for writing too, so closing it here does not end the container's input.
		f, err := os.OpenFile(streams.Stdin(), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("opening the container's standard input: %w", err)
		}
		defer f.Close()
		attached = func() { // and not before: what the container answers must not be missed
			go func() {
				_, err := io.Copy(f, in)
				f.Close()
				if a.spec.StdinOnce && !a.spec.TTY && err == nil { // the end of a terminal would be a hang-up
					a.s.Runtime.CloseStdin(context.WithoutCancel(ctx), id)
				}
				if out == nil && errOut == nil {
					cancel()
				}
			}()
		}
	}
	go func() {
		for size := range sizes(ctx, resize) {
			a.s.Runtime.Resize(ctx, id, size)
		}
	}()
	var stdout, stderr io.Writer
	if out != nil {
		stdout = out
	}
	if errOut != nil {
		stderr = errOut
	}
	err := a.s.Logs.Attach(ctx, id, stdout, stderr, attached)
	finish(out, errOut)
	return err
}

// portForward connects the client with ports of a Pod.
func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	p, _ := s.find(w, r, "")
	if p == nil {
		return
	}
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{s}, p.Name, string(p.UID), opts, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

type forwarder struct{ s *Server }

var _ portforward.PortForwarder = forwarder{}

// PortForward is called by the streaming library for each connection of the client.
func (f forwarder) PortForward(ctx context.Context, name, uid string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := f.dial(ctx, types.UID(uid), port)
	if err != nil {
		return fmt.Errorf("port %d of pod %s: %w", port, name, err)
	}
	defer conn.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(conn, stream)
		if t, ok := conn.(*net.TCPConn); ok {
			t.CloseWrite()
		}
	})
	_, err = io.Copy(stream, conn)
	stream.Close()
	wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// dial connects to the Pod's own loopback interface, IPv4 first.
func (f forwarder) dial(ctx context.Context, uid types.UID, port int32) (conn net.Conn, err error) {
	connect := func() error {
		for _, host := range []string{"127.0.0.1", "::1"} {
			// An address, not a name, and no fallback: nothing here makes a goroutine, which would be in another namespace.
			d := net.Dialer{Timeout: 10 * time.Second, FallbackDelay: -1}
			if conn, err = d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port)))); err == nil {
				return nil
			}
		}
		return err
	}
	path := f.s.NetNS(uid)
	if path == "" {
		err = connect()
		return conn, err
	}
	err = namespaces.InNet(path, connect)
	return conn, err
}

// NetNS is the path of a Pod's network namespace; empty for a Pod on the host's.
func (s *Server) NetNS(uid types.UID) string {
	for _, p := range s.Pods.List() {
		if p.UID == uid && !p.Spec.HostNetwork {
			return filepath.Join(s.Node.Dir, string(uid), "ns", namespaces.Net)
		}
	}
	return ""
}

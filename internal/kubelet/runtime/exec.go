package runtime

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/fifo"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"
)

// Exec is a command to run in a running container.
type Exec struct {
	Command        []string
	TTY            bool
	Stdin          io.Reader // nil for none
	Stdout, Stderr io.Writer // nil discards; with TTY all output is on Stdout
	Resize         <-chan Size
}

// Size of a terminal.
type Size struct{ Width, Height uint16 }

// Resize tells a container's terminal its size.
func (r *Runtime) Resize(ctx context.Context, id string, s Size) error {
	_, err := r.Client.TaskService().ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: id, Width: uint32(s.Width), Height: uint32(s.Height)})
	return errgrpc.ToNative(err)
}

// CloseStdin passes on that the container's standard input has ended.
func (r *Runtime) CloseStdin(ctx context.Context, id string) error {
	_, err := r.Client.TaskService().CloseIO(ctx, &tasks.CloseIORequest{ContainerID: id, Stdin: true})
	return errgrpc.ToNative(err)
}

// Exec runs a command with the container's own user, environment, capabilities and directory, and gives its exit status. When ctx ends
// the command is killed and ctx's error returned.
func (r *Runtime) Exec(ctx context.Context, id string, e Exec) (status uint32, err error) {
	rec, err := r.Client.ContainerService().Get(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("container %s: %w", id, err)
	}
	process, err := execProcess(rec, e)
	if err != nil {
		return 0, fmt.Errorf("container %s: %w", id, err)
	}
	execID := "exec-" + rand.Text()
	dir := filepath.Join(r.pipes, execID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)

	req := &tasks.ExecProcessRequest{ContainerID: id, ExecID: execID, Terminal: e.TTY, Spec: process}
	pipes, err := openPipes(ctx, dir, e, req)
	if err != nil {
		return 0, err
	}
	defer pipes.close()
	svc := r.Client.TaskService()
	if _, err := svc.Exec(ctx, req); err != nil {
		return 0, fmt.Errorf("container %s: running %q: %w", id, e.Command, errgrpc.ToNative(err))
	}
	background := context.WithoutCancel(ctx)
	defer svc.DeleteProcess(background, &tasks.DeleteProcessRequest{ContainerID: id, ExecID: execID})

	type result struct {
		status uint32
		err    error
	}
	ended := make(chan result, 1)
	go func() { // before the start, so that an early end is not missed
		w, err := svc.Wait(background, &tasks.WaitRequest{ContainerID: id, ExecID: execID})
		ended <- result{w.GetExitStatus(), errgrpc.ToNative(err)}
	}()
	if _, err := svc.Start(ctx, &tasks.StartRequest{ContainerID: id, ExecID: execID}); err != nil {
		return 0, fmt.Errorf("container %s: running %q: %w", id, e.Command, errgrpc.ToNative(err))
	}
	pipes.start(e, func() { // the client closed its end: pass that on, or a command that reads to the end never ends
		if e.TTY {
			return // that would hang up, and end a command whose user only has nothing more to type
		}
		svc.CloseIO(background, &tasks.CloseIORequest{ContainerID: id, ExecID: execID, Stdin: true})
	})
	for {
		select {
		case res := <-ended:
			if res.err != nil {
				return 0, fmt.Errorf("container %s: running %q: %w", id, e.Command, res.err)
			}
			pipes.drain(ctx)
			return res.status, nil
		case s, ok := <-e.Resize:
			if !ok {
				e.Resize = nil
				continue
			}
			svc.ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: id, ExecID: execID, Width: uint32(s.Width), Height: uint32(s.Height)})
		case <-ctx.Done():
			svc.Kill(background, &tasks.KillRequest{ContainerID: id, ExecID: execID, Signal: uint32(unix.SIGKILL), All: true})
			<-ended
			return 0, ctx.Err()
		}
	}
}

// execProcess derives the process to execute from the container's own.
func execProcess(rec containers.Container, e Exec) (*anypb.Any, error) {
	var s specs.Spec
	if err := typeurl.UnmarshalTo(rec.Spec, &s); err != nil {
		return nil, err
	}
	p := s.Process
	p.Args, p.CommandLine, p.Terminal, p.ConsoleSize = e.Command, "", e.TTY, nil
	if e.TTY {
		p.Env = append(p.Env, "TERM=xterm")
	}
	p.OOMScoreAdj = nil // inherited; setting it again may not be permitted
	v, err := typeurl.MarshalAny(p)
	if err != nil {
		return nil, err
	}
	return typeurl.MarshalProto(v), nil
}

// pipes connect an executed command with its caller.
type pipes struct {
	in       io.WriteCloser
	out, err io.ReadCloser
	copying  sync.WaitGroup
}

func openPipes(ctx context.Context, dir string, e Exec, req *tasks.ExecProcessRequest) (*pipes, error) {
	p := &pipes{}
	open := func(name string, flags int) (io.ReadWriteCloser, string, error) {
		path := filepath.Join(dir, name)
		f, err := fifo.OpenFifo(ctx, path, flags|syscall.O_CREAT|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, "", fmt.Errorf("opening a pipe for the command: %w", err)
		}
		return f, path, nil
	}
	if e.Stdin != nil {
		f, path, err := open("in", syscall.O_WRONLY)
		if err != nil {
			return nil, err
		}
		p.in, req.Stdin = f, path
	}
	f, path, err := open("out", syscall.O_RDONLY)
	if err != nil {
		p.close()
		return nil, err
	}
	p.out, req.Stdout = f, path
	if !e.TTY {
		f, path, err := open("err", syscall.O_RDONLY)
		if err != nil {
			p.close()
			return nil, err
		}
		p.err, req.Stderr = f, path
	}
	return p, nil
}

func (p *pipes) start(e Exec, stdinClosed func()) {
	if p.in != nil {
		go func() {
			io.Copy(p.in, e.Stdin)
			p.in.Close()
			stdinClosed()
		}()
	}
	copyTo := func(w io.Writer, r io.Reader) {
		if w == nil {
			w = io.Discard
		}
		p.copying.Go(func() { io.Copy(w, r) })
	}
	copyTo(e.Stdout, p.out)
	if p.err != nil {
		copyTo(e.Stderr, p.err)
	}
}

// drainTimeout bounds the wait for output after the command has ended: a child that it left behind may hold the pipe open for ever.
const drainTimeout = 2 * time.Second

func (p *pipes) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	done := make(chan struct{})
	go func() { p.copying.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (p *pipes) close() {
	for _, c := range []io.Closer{p.in, p.out, p.err} {
		if c != nil {
			c.Close()
		}
	}
}

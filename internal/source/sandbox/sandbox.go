package sandbox

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MaxTime bounds one job. The largest public charts render in a second.
	MaxTime = 60 * time.Second
	// MaxMemory bounds what the process may allocate, its program's own few megabytes included.
	MaxMemory = 1 << 30
	// workers is how many jobs run at once; idle is how long a process waits for the next.
	workers = 2
	idle    = 30 * time.Second
	// variable, in the environment, makes this program serve jobs.
	variable = "GITOPSD_SANDBOX"
)

// ErrLimits is a job that was ended because it took more than it may.
var ErrLimits = errors.New("it takes more time or memory than a rendering may")

// Job is a kind of work.
type Job[In, Out any] struct {
	name string
	do   func(context.Context, In) (Out, error)
}

// jobs are what a process can be asked to do, by name.
var jobs = map[string]func(context.Context, []byte) ([]byte, error){}

// New makes a Job; it is called while packages are initialized. In and Out must be such that gob can carry them, and an error is carried as its text.
func New[In, Out any](name string, do func(context.Context, In) (Out, error)) *Job[In, Out] {
	jobs[name] = func(ctx context.Context, input []byte) ([]byte, error) {
		var in In
		if err := gob.NewDecoder(bytes.NewReader(input)).Decode(&in); err != nil {
			return nil, err
		}
		out, err := do(ctx, in)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		err = gob.NewEncoder(&b).Encode(out)
		return b.Bytes(), err
	}
	return &Job[In, Out]{name, do}
}

// request and response are what goes to and from the process.
type request struct {
	Name  string
	Input []byte
}

type response struct {
	Output []byte
	Error  string
}

// prepared says that Main was called, so that starting this program again gives a process that serves jobs.
var prepared bool

// Main serves jobs when this process was started for that, and never returns then. Otherwise it does nothing but note that it was called.
func Main() {
	if os.Getenv(variable) == "" {
		prepared = true
		return
	}
	if err := serve(os.Stdin, os.Stdout); !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve does jobs until there are no more, which is io.EOF.
func serve(r io.Reader, w io.Writer) error {
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: MaxMemory, Max: MaxMemory}); err != nil {
		return err
	}
	dec, enc := gob.NewDecoder(r), gob.NewEncoder(w)
	for {
		var q request
		if err := dec.Decode(&q); err != nil {
			return err
		}
		// Whoever asked would kill this process before; this is for when it is gone itself.
		overdue := time.AfterFunc(MaxTime+10*time.Second, func() { os.Exit(1) })
		var a response
		do, ok := jobs[q.Name]
		if !ok {
			return fmt.Errorf("no job %q", q.Name)
		}
		output, err := do(context.Background(), q.Input)
		if a.Output = output; err != nil {
			a.Error = err.Error()
			if a.Error == "" {
				a.Error = "it failed without a word"
			}
		}
		overdue.Stop()
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
}

// Do does the job. An error that is not the job's own is ErrLimits, or about the process.
func (j *Job[In, Out]) Do(ctx context.Context, in In) (out Out, err error) {
	if !prepared {
		return j.do(ctx, in)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(in); err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, MaxTime)
	defer cancel()
	a, err := shared.ask(ctx, request{j.name, b.Bytes()})
	switch {
	case err != nil:
		return out, err
	case a.Error != "":
		return out, errors.New(a.Error)
	}
	return out, gob.NewDecoder(bytes.NewReader(a.Output)).Decode(&out)
}

// shared are the processes of this program.
var shared = &pool{slots: make(chan struct{}, workers)}

type pool struct {
	slots chan struct{}

	mu   sync.Mutex
	free []*worker
}

// worker is a process that serves jobs.
type worker struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	enc   *gob.Encoder
	dec   *gob.Decoder
	timer *time.Timer
}

// ask has a process do a job. One that ends its process is tried once more, since a process may be killed for a reason that is not the job's.
func (p *pool) ask(ctx context.Context, q request) (response, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return response{}, ctx.Err()
	}
	defer func() { <-p.slots }()
	for range 2 {
		w, err := p.take()
		if err != nil {
			return response{}, fmt.Errorf("starting a process for the rendering: %w", err)
		}
		a, err := w.do(ctx, q)
		switch {
		case err == nil:
			p.give(w)
			return a, nil
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return response{}, fmt.Errorf("%w: it did not end in time", ErrLimits)
		case ctx.Err() != nil:
			return response{}, ctx.Err()
		}
	}
	return response{}, fmt.Errorf("%w: it ended its process twice, as one does that needs more than %d MiB of memory", ErrLimits, MaxMemory>>20)
}

// do does one job; after an error the process is gone.
func (w *worker) do(ctx context.Context, q request) (a response, err error) {
	done := make(chan error, 1)
	go func() {
		err := w.enc.Encode(q)
		if err == nil {
			err = w.dec.Decode(&a)
		}
		done <- err
	}()
	select {
	case err = <-done:
		if err != nil {
			w.kill()
		}
	case <-ctx.Done():
		w.kill()
		<-done
		err = ctx.Err()
	}
	return a, err
}

// take returns an idle process, or a new one.
func (p *pool) take() (*worker, error) {
	p.mu.Lock()
	for len(p.free) > 0 {
		w := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		if w.timer.Stop() {
			p.mu.Unlock()
			return w, nil
		}
	}
	p.mu.Unlock()
	return start()
}

// give keeps a process for the next job, for a while.
func (p *pool) give(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.timer = time.AfterFunc(idle, w.kill)
	p.free = append(p.free, w)
}

func start() (*worker, error) {
	w, err := launch(unix.CLONE_NEWNET)
	if errors.Is(err, os.ErrPermission) {
		w, err = launch(0) // templates have no way to the network anyway
	}
	return w, err
}

func launch(flags uintptr) (*worker, error) {
	// This is the program that runs, also when its file has been replaced by a newer one.
	w := &worker{cmd: exec.Command("/proc/self/exe")}
	w.cmd.Env = []string{variable + "=1", fmt.Sprintf("GOMEMLIMIT=%d", MaxMemory*3/4), "GOMAXPROCS=2", "GOTRACEBACK=none"}
	w.cmd.Dir = "/"
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.enc, w.dec = gob.NewEncoder(w.in), gob.NewDecoder(out)
	return w, w.cmd.Start()
}

// kill ends the process, whatever it is doing, and waits for that.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // it may be gone already
	_ = w.in.Close()
	_ = w.cmd.Wait() // that it was killed is no news
}

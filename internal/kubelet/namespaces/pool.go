package namespaces

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// The first thread of the process is kept for the main goroutine. Were it used to make namespaces, /proc/self and /proc/net, which show what the
// first thread has, would show the wrong ones ever after, because the runtime cannot end that thread as it ends others.
func init() { runtime.LockOSThread() }

// Set is a network, an IPC and a UTS namespace, held open.
type Set struct{ net, ipc, uts *os.File }

func (s Set) close() {
	for _, f := range []*os.File{s.net, s.ipc, s.uts} {
		if f != nil {
			f.Close()
		}
	}
}

// Pool keeps a few Sets ready.
type Pool struct{ ready chan Set }

// NewPool makes a Pool that keeps up to size Sets ready while Run runs.
func NewPool(size int) *Pool { return &Pool{ready: make(chan Set, size)} }

// Run fills the pool until ctx ends.
func (p *Pool) Run(ctx context.Context) {
	for ctx.Err() == nil {
		s, err := unshare()
		if err != nil {
			// Pods make their own then, and report why they cannot.
			slog.Warn("making namespaces ahead of time failed; each Pod makes its own", "err", err)
			break
		}
		select {
		case p.ready <- s:
		case <-ctx.Done():
			s.close()
		}
	}
	<-ctx.Done()
	for {
		select {
		case s := <-p.ready:
			s.close()
		default:
			return
		}
	}
}

// take gives a Set that is ready, or makes one.
func (p *Pool) take() (Set, error) {
	select {
	case s := <-p.ready:
		return s, nil
	default:
		return unshare()
	}
}

// unshare makes a Set on a thread of its own. That thread is never given back to other goroutines: it ends with this one.
func unshare() (Set, error) {
	type result struct {
		Set
		err error
	}
	ch := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		var r result
		r.Set, r.err = unshareThread()
		if r.err != nil {
			r.Set.close()
			r.err = fmt.Errorf("making network, IPC and UTS namespaces: %w; the node daemon must run as root with CAP_SYS_ADMIN", r.err)
		}
		ch <- r
	}()
	r := <-ch
	return r.Set, r.err
}

func unshareThread() (s Set, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err != nil {
		return s, err
	}
	for name, f := range map[string]**os.File{"net": &s.net, "ipc": &s.ipc, "uts": &s.uts} {
		if *f, err = os.Open("/proc/thread-self/ns/" + name); err != nil {
			return s, err
		}
	}
	return s, openUp()
}

// openUp lets programs in the network namespace of this thread use ports below 1024 and ping without privileges, as containerd's CRI does too: they do no harm in a namespace of one's own.
func openUp() error {
	for name, value := range map[string]string{"ip_unprivileged_port_start": "0", "ping_group_range": "0 2147483647"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			return err
		}
	}
	return nil
}

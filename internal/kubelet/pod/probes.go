package pod

import (
	"bytes"
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/probe"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
)

// listener takes in what a container's probes find.
type listener struct {
	w        *worker
	pod      *v1.Pod
	name, id string
}

var _ probe.Listener = (*listener)(nil)

// Judged tells the worker, unless the container has ended meanwhile.
func (l *listener) Judged(kind probe.Kind, ok bool, message string) {
	l.w.tell(func() {
		c := l.w.containers[l.name]
		if c == nil || c.ID != l.id || c.Phase != lifecycle.Running {
			return
		}
		switch kind {
		case probe.Startup:
			c.StartupOK = ok
			if !ok {
				l.fail(c, kind, c.spec.StartupProbe)
			}
		case probe.Readiness:
			c.Ready = ok
		case probe.Liveness:
			if !ok {
				l.fail(c, kind, c.spec.LivenessProbe)
			}
		}
	})
}

func (l *listener) fail(c *container, kind probe.Kind, p *v1.Probe) {
	if c.Unhealthy == "" {
		c.Unhealthy = "Container " + l.name + " failed " + lower(kind) + " probe, will be restarted"
		c.UnhealthyGrace = p.TerminationGracePeriodSeconds
	}
}

func lower(k probe.Kind) string {
	if k == probe.Startup {
		return "startup"
	}
	return "liveness"
}

// Checked counts.
func (l *listener) Checked(kind probe.Kind, ok bool, took time.Duration) {
	l.w.node.Probes.Count(l.pod, l.name, kind, ok, took)
}

// Failed makes an event of it.
func (l *listener) Failed(kind probe.Kind, message string) {
	l.w.tell(func() {
		if c := l.w.containers[l.name]; c != nil && c.ID == l.id && c.StopSent.IsZero() {
			l.w.event(l.name, v1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", kind, message)
		}
	})
}

// maxOutput bounds what is kept of a command's output for a message.
const maxOutput = 10 << 10

// execIn gives a function that runs commands in a container.
func (w *worker) execIn(id string) func(context.Context, []string) (uint32, string, error) {
	return func(ctx context.Context, command []string) (uint32, string, error) {
		var out bounded
		status, err := w.node.Runtime.Exec(ctx, id, runtime.Exec{Command: command, Stdout: &out, Stderr: &out})
		return status, out.String(), err
	}
}

// bounded keeps the beginning of what is written to it; two streams may share one.
type bounded struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Write(p[:min(len(p), max(0, maxOutput-b.buf.Len()))])
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

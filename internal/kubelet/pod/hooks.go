package pod

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/probe"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
)

// postStart runs a container's postStart hook; until it has, the container is not ready, and if it fails the container is stopped.
func (w *worker) postStart(ctx context.Context, c *v1.Container, id string) {
	err := w.hook(ctx, c, id, c.Lifecycle.PostStart)
	w.tell(func() {
		have := w.containers[c.Name]
		if have == nil || have.ID != id || have.Phase != lifecycle.Running {
			return
		}
		if err == nil {
			have.PostStart = lifecycle.HookDone
			return
		}
		have.PostStart = lifecycle.HookFailed
		have.Unhealthy = "FailedPostStartHook"
		w.event(c.Name, v1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed: %v", err)
	})
}

// preStop runs a container's preStop hook, for as long as the grace period allows.
func (w *worker) preStop(ctx context.Context, c *v1.Container, id string, grace time.Duration) {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := w.hook(ctx, c, id, c.Lifecycle.PreStop); err != nil {
		w.tell(func() { w.event(c.Name, v1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: %v", err) })
	}
}

// hook runs one handler.
func (w *worker) hook(ctx context.Context, c *v1.Container, id string, h *v1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		status, out, err := w.execIn(id)(ctx, h.Exec.Command)
		if err == nil && status != 0 {
			err = fmt.Errorf("command %q exited with %d: %s", h.Exec.Command, status, out)
		}
		return err
	case h.HTTPGet != nil:
		req, err := probe.HTTPRequest(ctx, h.HTTPGet, probe.Target{IP: w.address(ctx), Container: c})
		if err != nil {
			return err
		}
		res, err := hookClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		io.Copy(io.Discard, io.LimitReader(res.Body, maxOutput))
		if res.StatusCode >= 400 {
			return fmt.Errorf("%s answered %s", req.URL, res.Status)
		}
		return nil
	case h.Sleep != nil:
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		}
		return nil
	}
	return nil
}

// hookClient is http.DefaultTransport's settings without its connection pool: hooks run once.
var hookClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// address of the Pod, for those outside the worker's goroutine.
func (w *worker) address(ctx context.Context) string {
	ch := make(chan string, 1)
	w.tell(func() {
		if w.sandbox != nil && len(w.sandbox.IPs) > 0 {
			ch <- w.sandbox.IPs[0]
		} else {
			ch <- w.pod.Status.PodIP
		}
	})
	select {
	case ip := <-ch:
		return ip
	case <-ctx.Done():
		return ""
	}
}

// The API bounds what a container may say when it ends: `kubectl explain pod.spec.containers.terminationMessagePath`.
const (
	maxMessage      = 4096
	maxFallback     = 2048
	maxFallbackLine = 80
)

// lastWords are what a container wrote to its termination message file.
func (w *worker) lastWords(c *v1.Container, attempt int) string {
	s := step.Sandbox{Dir: w.dir}
	file := s.TerminationLog(c.Name, attempt)
	b, err := readStart(file, maxMessage)
	if err != nil {
		return ""
	}
	return string(b)
}

// endOfLog is the end of a failed container's log, where its policy says that this stands for last words.
func (w *worker) endOfLog(pod *v1.Pod, c *v1.Container, end *lifecycle.End) string {
	if c.TerminationMessagePolicy != v1.TerminationMessageFallbackToLogsOnError || end.ExitCode == 0 {
		return ""
	}
	var out bytes.Buffer
	ended := make(chan struct{})
	close(ended)
	if logs.Read(context.Background(), w.node.LogPath(pod, c.Name, end.Attempt), logs.Options{Tail: maxFallbackLine}, ended, &out) != nil {
		return ""
	}
	text := out.Bytes()
	return string(text[max(0, len(text)-maxFallback):])
}

// readStart reads at most the first n bytes of a file that a container wrote; it may have made it any size.
func readStart(file string, n int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
)

// containerLogs sends a container's log: GET /containerLogs/{namespace}/{pod}/{container}, with the parameters of the API's PodLogOptions.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	opts, err := logOptions(q, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	p, c := s.find(w, r, r.PathValue("container"))
	if c == nil {
		return
	}
	attempt, err := logAttempt(p, c, q.Get("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ended := make(<-chan struct{})
	if opts.Follow {
		ended = s.Pods.Ended(r.Context(), p.UID, c.Name, attempt)
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	out := &flusher{w, http.NewResponseController(w), opts.Follow}
	out.flush()
	if err := logs.Read(r.Context(), s.Node.LogPath(p, c.Name, attempt), opts, ended, out); err != nil && r.Context().Err() == nil {
		slog.Debug("sending a container's log ended early", "pod", p.Namespace+"/"+p.Name, "container", c.Name, "err", err)
	}
}

// flusher sends each piece on at once when the reader waits for it.
type flusher struct {
	w      http.ResponseWriter
	c      *http.ResponseController
	always bool
}

func (f *flusher) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if f.always && strings.HasSuffix(string(b), "\n") {
		f.flush()
	}
	return n, err
}

func (f *flusher) flush() { f.c.Flush() }

func logOptions(q url.Values, now time.Time) (logs.Options, error) {
	o := logs.Options{Tail: -1, Follow: q.Get("follow") == "true", Timestamps: q.Get("timestamps") == "true"}
	number := func(name string) (int64, bool, error) {
		v := q.Get(name)
		if v == "" {
			return 0, false, nil
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return 0, false, fmt.Errorf("%s: must be a whole number from 0 on, got %q", name, v)
		}
		return n, true, nil
	}
	if n, ok, err := number("tailLines"); err != nil {
		return o, err
	} else if ok {
		o.Tail = n
	}
	if n, ok, err := number("limitBytes"); err != nil {
		return o, err
	} else if ok {
		o.Limit = n
	}
	if n, ok, err := number("sinceSeconds"); err != nil {
		return o, err
	} else if ok {
		o.Since = now.Add(-time.Duration(n) * time.Second)
	}
	if v := q.Get("sinceTime"); v != "" {
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return o, fmt.Errorf("sinceTime: must be a time as in RFC 3339, got %q", v)
		}
		o.Since = t
	}
	switch v := q.Get("stream"); v {
	case "", v1.LogStreamAll:
	case v1.LogStreamStdout:
		o.Stream = logs.Stdout
	case v1.LogStreamStderr:
		o.Stream = logs.Stderr
	default:
		return o, fmt.Errorf("stream: must be All, Stdout or Stderr, got %q", v)
	}
	return o, nil
}

// logAttempt finds which attempt of a container is meant. One that waits for its next attempt shows the one that ended.
func logAttempt(p *v1.Pod, c *v1.ContainerStatus, previous bool) (int, error) {
	n := int(c.RestartCount)
	last := c.LastTerminationState.Terminated != nil
	switch {
	case previous && !last:
		return 0, fmt.Errorf("previous terminated container %q in pod %q not found", c.Name, p.Name)
	case previous && c.State.Waiting == nil:
		return n - 1, nil
	case previous, c.State.Running != nil, c.State.Terminated != nil, last:
		return n, nil
	}
	reason := "ContainerCreating"
	if c.State.Waiting != nil {
		reason = c.State.Waiting.Reason
	}
	switch reason {
	case "ErrImagePull":
		reason = "image can't be pulled"
	case "ImagePullBackOff":
		reason = "trying and failing to pull image"
	}
	return 0, fmt.Errorf("container %q in pod %q is waiting to start: %s", c.Name, p.Name, reason)
}

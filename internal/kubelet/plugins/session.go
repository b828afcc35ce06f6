package plugins

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// callTimeout bounds each call to a plugin, and how long one may take to be taken in.
const callTimeout = 10 * time.Second

// The pause after a plugin that could not be taken in: such as one whose socket is there before somebody listens at it.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 30 * time.Second
)

// session is what goes on with one socket.
type session struct {
	path  string
	stamp stamp
	end   context.CancelFunc // the socket is gone
	done  chan struct{}
}

// begin starts a session once the earlier one at the same path, if any, is over.
func begin(ctx context.Context, path string, st stamp, before *session, kinds map[string]Kind) *session {
	gone, end := context.WithCancel(context.Background())
	s := &session{path: path, stamp: st, end: end, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		if before != nil {
			<-before.done
		}
		s.run(ctx, gone, kinds)
	}()
	return s
}

// run hands the plugin over, and takes it back when its socket is gone.
func (s *session) run(ctx, gone context.Context, kinds map[string]Kind) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(gone, stop)()
	told := ""
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		kind, p, err := s.register(working, kinds)
		if err == nil {
			slog.Info("a plugin has registered", "type", p.Type, "name", p.Name, "endpoint", p.Endpoint)
			select {
			case <-gone.Done():
				slog.Info("a plugin is gone", "type", p.Type, "name", p.Name)
				kind.Remove(p)
			case <-ctx.Done():
			}
			return
		}
		if working.Err() != nil {
			return
		}
		if text := err.Error(); text != told {
			slog.Warn("a plugin could not be registered; it is tried again", "socket", s.path, "err", err)
			told = text
		}
		select {
		case <-working.Done():
			return
		case <-time.After(pause):
		}
	}
}

// register asks the plugin what it is, hands it over and tells it what came of that.
func (s *session) register(ctx context.Context, kinds map[string]Kind) (Kind, Plugin, error) {
	conn, err := Connect(s.path)
	if err != nil {
		return nil, Plugin{}, err
	}
	defer conn.Close()
	client := registration.NewRegistrationClient(conn)
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := client.GetInfo(call, &registration.InfoRequest{})
	if err != nil {
		return nil, Plugin{}, fmt.Errorf("asking what it is: %w", err)
	}
	p := Plugin{Type: info.Type, Name: info.Name, Endpoint: info.Endpoint, Versions: info.SupportedVersions}
	if p.Endpoint == "" {
		p.Endpoint = s.path // upstream's rule: it serves where it registers
	}
	kind, ok := kinds[p.Type]
	if !ok {
		err = fmt.Errorf("this node takes no plugins of the type %q, which %s says it is", p.Type, p.Name)
	} else {
		err = kind.Add(ctx, p)
	}
	answer := &registration.RegistrationStatus{PluginRegistered: err == nil}
	if err != nil {
		answer.Error = err.Error()
	}
	call, cancel = context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// A plugin that does not hear of it may start anew; that is seen by its socket.
	if _, answerErr := client.NotifyRegistrationStatus(call, answer); answerErr != nil {
		slog.Warn("telling a plugin whether it was registered failed", "type", p.Type, "name", p.Name, "err", answerErr)
	}
	return kind, p, err
}

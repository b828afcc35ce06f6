package plugins

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// plugin is a program that registers.
type plugin struct {
	registration.UnimplementedRegistrationServer
	info  *registration.PluginInfo
	hangs bool
	heard chan *registration.RegistrationStatus
}

func (p *plugin) GetInfo(ctx context.Context, _ *registration.InfoRequest) (*registration.PluginInfo, error) {
	if p.hangs {
		<-ctx.Done()
	}
	return p.info, ctx.Err()
}

func (p *plugin) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	p.heard <- s
	return &registration.RegistrationStatusResponse{}, nil
}

// serve has the plugin listen at a path until the function that it gives is called.
func (p *plugin) serve(t *testing.T, path string) (stop func()) {
	t.Helper()
	p.heard = make(chan *registration.RegistrationStatus, 10)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	registration.RegisterRegistrationServer(s, p)
	go s.Serve(l)
	stop = sync.OnceFunc(s.Stop) // it removes the socket
	t.Cleanup(stop)
	return stop
}

// drivers is who takes plugins in.
type drivers struct {
	calls  chan string
	refuse error
}

func (d *drivers) Add(_ context.Context, p Plugin) error {
	d.calls <- "add " + p.Name + " at " + filepath.Base(p.Endpoint)
	return d.refuse
}
func (d *drivers) Remove(p Plugin) { d.calls <- "remove " + p.Name }

func (d *drivers) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-d.calls:
		if got != want {
			t.Fatalf("the calls went on with %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no %q", want)
	}
}

func TestPluginsComeAndGoWithTheirSockets(t *testing.T) {
	dir := t.TempDir()
	taken, refused := &drivers{calls: make(chan string, 10)}, &drivers{calls: make(chan string, 100), refuse: errors.New("no room")}
	w := &Watcher{Dir: filepath.Join(dir, "reg"), Kinds: map[string]Kind{"A": taken, "B": refused}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	if err := os.MkdirAll(w.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	hangs := &plugin{hangs: true}
	hangs.serve(t, filepath.Join(w.Dir, "a-hanging.sock"))
	early := &plugin{info: &registration.PluginInfo{Type: "A", Name: "early", Endpoint: "/x/serves.sock"}}
	stop := early.serve(t, filepath.Join(w.Dir, "early.sock"))
	go func() { done <- w.Run(ctx) }()
	taken.expect(t, "add early at serves.sock")
	if s := <-early.heard; !s.PluginRegistered {
		t.Errorf("the plugin was told %v", s)
	}

	sub := filepath.Join(w.Dir, "below")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	late := &plugin{info: &registration.PluginInfo{Type: "A", Name: "late"}}
	late.serve(t, filepath.Join(sub, "late.sock"))
	taken.expect(t, "add late at late.sock")

	bad := &plugin{info: &registration.PluginInfo{Type: "B", Name: "bad"}}
	bad.serve(t, filepath.Join(w.Dir, "bad.sock"))
	if s := <-bad.heard; s.PluginRegistered || s.Error != "no room" {
		t.Errorf("the plugin that was refused was told %v", s)
	}
	<-bad.heard // it is tried again

	stop()
	taken.expect(t, "remove early")
	again := &plugin{info: &registration.PluginInfo{Type: "A", Name: "early"}}
	again.serve(t, filepath.Join(w.Dir, "early.sock"))
	taken.expect(t, "add early at early.sock")

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	select {
	case got := <-taken.calls:
		t.Errorf("the end of the watcher is no reason to %s", got)
	default:
	}
}

func TestASocketThatWasReplacedIsAnother(t *testing.T) {
	now := time.Now()
	gone, fresh := changes(
		map[string]stamp{"same": {1, now}, "replaced": {2, now}, "gone": {3, now}},
		map[string]stamp{"same": {1, now}, "replaced": {4, now}, "new": {5, now}})
	slices.Sort(gone)
	slices.Sort(fresh)
	if !slices.Equal(gone, []string{"gone", "replaced"}) || !slices.Equal(fresh, []string{"new", "replaced"}) {
		t.Errorf("gone %v, fresh %v", gone, fresh)
	}
}

package devices

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// program is a device plugin with one device.
type program struct {
	api.UnimplementedDevicePluginServer
	socket string
	device string
	often  bool // it says the same again and again
	said   atomic.Int64
	left   chan struct{}
}

func (p *program) ListAndWatch(_ *api.Empty, s grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	defer close(p.left)
	for {
		if err := s.Send(&api.ListAndWatchResponse{Devices: []*api.Device{{ID: p.device, Health: api.Healthy}, {ID: p.device, Health: api.Healthy}}}); err != nil {
			return err
		}
		p.said.Add(1)
		if !p.often {
			<-s.Context().Done()
			return nil
		}
	}
}

func (p *program) serve(t *testing.T, dir string) {
	t.Helper()
	p.left = make(chan struct{})
	l, err := net.Listen("unix", filepath.Join(dir, p.socket))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	api.RegisterDevicePluginServer(s, p)
	go s.Serve(l)
	t.Cleanup(s.Stop)
}

func TestAPluginTakesAnothersPlaceOnlyIfItIsThere(t *testing.T) {
	const card = v1.ResourceName("example.com/card")
	dir := t.TempDir()
	var changes atomic.Int64
	d, err := Open(dir, t.TempDir(), func() { changes.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := registration{d: d, ctx: ctx}
	register := func(socket string) {
		t.Helper()
		if _, err := r.Register(ctx, &api.RegisterRequest{Version: api.Version, Endpoint: socket, ResourceName: string(card)}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(device string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			d.mu.Lock()
			free := d.free(card, "")
			d.mu.Unlock()
			if len(free) == 1 && free[0] == device {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("free are %q, want %s", free, device)
			}
		}
	}
	first := &program{socket: "first.sock", device: "a"}
	first.serve(t, dir)
	register("first.sock")
	has("a")

	before, err := d.plugin(card)
	if err != nil {
		t.Fatal(err)
	}
	register("nobody.sock")
	time.Sleep(300 * time.Millisecond) // nothing is to happen
	if now, err := d.plugin(card); now != before || err != nil {
		t.Fatalf("a plugin that is not there has taken another's place (%v)", err)
	}

	second := &program{socket: "second.sock", device: "b", often: true}
	second.serve(t, dir)
	register("second.sock")
	has("b")
	select {
	case <-first.left:
	case <-time.After(10 * time.Second):
		t.Error("a plugin whose place another has is still listened to")
	}
	for n := second.said.Load(); second.said.Load() < n+1000; {
		time.Sleep(time.Millisecond)
	}
	if n := changes.Load(); n > 10 {
		t.Errorf("the Node was looked at %d times for what was said before", n)
	}
}

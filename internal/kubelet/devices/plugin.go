package devices

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// socketName is where plugins register, in the folder of their sockets.
const socketName = "kubelet.sock"

// plugin is one that is there.
type plugin struct {
	api.DevicePluginClient
	conn    *grpc.ClientConn
	options *api.DevicePluginOptions
}

// Run serves registrations until ctx ends. The socket is made anew each time: plugins watch for that, and register again.
func (d *Devices) Run(ctx context.Context) error {
	path := filepath.Join(d.dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the device plugins' socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("the device plugins' socket: %w", err)
	}
	s := grpc.NewServer()
	api.RegisterRegistrationServer(s, registration{d: d, ctx: ctx})
	context.AfterFunc(ctx, s.Stop)
	if err := s.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("the device plugins' socket: %w", err)
	}
	return nil
}

type registration struct {
	api.UnimplementedRegistrationServer
	d   *Devices
	ctx context.Context
}

// Register takes in a plugin. It is answered before the plugin is asked anything.
func (r registration) Register(_ context.Context, req *api.RegisterRequest) (*api.Empty, error) {
	if err := check(req); err != nil {
		slog.Warn("a device plugin was refused", "resource", req.ResourceName, "err", err)
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+filepath.Join(r.d.dir, req.Endpoint), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	p := &plugin{DevicePluginClient: api.NewDevicePluginClient(conn), conn: conn, options: req.Options}
	if p.options == nil {
		p.options = &api.DevicePluginOptions{}
	}
	go r.d.follow(r.ctx, v1.ResourceName(req.ResourceName), p)
	return &api.Empty{}, nil
}

func check(req *api.RegisterRequest) error {
	if !slices.Contains(api.SupportedVersions[:], req.Version) {
		return fmt.Errorf("version %q of the device plugin API is not spoken here; %s is", req.Version, strings.Join(api.SupportedVersions[:], ", "))
	}
	domain, _, ok := strings.Cut(req.ResourceName, "/")
	if bad := validation.IsQualifiedName(req.ResourceName); len(bad) > 0 || !ok || domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") || strings.HasPrefix(req.ResourceName, v1.DefaultResourceRequestsPrefix) {
		return fmt.Errorf("resource name %q: must have the form vendor.domain/name, of a domain other than kubernetes.io", req.ResourceName)
	}
	if req.Endpoint == "" || filepath.Base(req.Endpoint) != req.Endpoint || req.Endpoint == socketName {
		return fmt.Errorf("endpoint %q: must be the name of the plugin's own socket in the folder of this one", req.Endpoint)
	}
	return nil
}

// reachTimeout is how long a plugin that has registered may take to listen.
const reachTimeout = 10 * time.Second

// reach connects to a plugin. Whoever only says that it is one takes no other's place.
func (p *plugin) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	for state := p.conn.GetState(); state != connectivity.Ready; state = p.conn.GetState() {
		p.conn.Connect()
		if !p.conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("nobody listens at %s", p.conn.Target())
		}
	}
	return nil
}

// follow takes in what a plugin says about its devices until it goes or another takes its place.
func (d *Devices) follow(ctx context.Context, resource v1.ResourceName, p *plugin) {
	defer p.conn.Close()
	log := slog.With("resource", resource)
	if err := p.reach(ctx); err != nil {
		if ctx.Err() == nil {
			log.Warn("a device plugin has registered, but is not there; it is to register again once it listens", "err", err)
		}
		return
	}
	d.arrive(resource, p)
	stream, err := p.ListAndWatch(ctx, &api.Empty{})
	for err == nil {
		var said *api.ListAndWatchResponse
		if said, err = stream.Recv(); err == nil && !d.take(resource, p, said.Devices) {
			return // another has its place
		}
	}
	if d.leave(resource, p) && ctx.Err() == nil {
		log.Warn("a device plugin has gone; its devices are given to nobody until it registers again, and who has some keeps them", "err", err)
	}
}

// goneFor is how long the devices of a plugin that went are still counted as the Node's, though none can be had: it may be about to come back in a new version.
const goneFor = 5 * time.Minute

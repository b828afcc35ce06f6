package csidriver

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Driver is one process of the driver.
type Driver struct {
	Name string
	Dir  string // of its state, the same for all its processes
	Node string // its ID
	// Topology is where the node is; nil: the driver knows none.
	Topology map[string]string
	Limit    int64
	// Attaches says that volumes are attached by the controller, and Stages that they are staged.
	Attaches, Stages bool

	spec.UnimplementedIdentityServer
	spec.UnimplementedControllerServer
	spec.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer
	endpoint string
	told     chan *registration.RegistrationStatus
}

// Serve serves at a socket, and registers in a folder unless that is empty. It returns when ctx ends.
func (d *Driver) Serve(ctx context.Context, socket, registry string) error {
	for _, sub := range []string{"volumes", "attached", "faults", "calls"} {
		if err := os.MkdirAll(filepath.Join(d.Dir, sub), 0o755); err != nil {
			return err
		}
	}
	d.endpoint, d.told = socket, make(chan *registration.RegistrationStatus, 16)
	failed := make(chan error, 2)
	listen := func(path string, register func(*grpc.Server)) (*grpc.Server, error) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		os.Remove(path) // of a process that was killed
		l, err := net.Listen("unix", path)
		if err != nil {
			return nil, err
		}
		s := grpc.NewServer(grpc.UnaryInterceptor(d.intercept))
		register(s)
		go func() { failed <- s.Serve(l) }()
		return s, nil
	}
	s, err := listen(socket, func(s *grpc.Server) {
		spec.RegisterIdentityServer(s, d)
		spec.RegisterControllerServer(s, d)
		spec.RegisterNodeServer(s, d)
	})
	if err != nil {
		return err
	}
	defer s.Stop()
	if registry != "" {
		r, err := listen(filepath.Join(registry, d.Name+"-reg.sock"), func(s *grpc.Server) { registration.RegisterRegistrationServer(s, d) })
		if err != nil {
			return err
		}
		defer r.Stop()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// Fault has a call go wrong from now on; an empty fault has it go right again.
func (d *Driver) Fault(call, fault string) error {
	path := filepath.Join(d.Dir, "faults", call)
	if fault == "" {
		return os.RemoveAll(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(fault), 0o600)
}

// Calls lists what was asked of the node's part about volumes, in order: CALL VOLUME.
func (d *Driver) Calls() []string {
	b, err := os.ReadFile(filepath.Join(d.Dir, "calls", d.Node))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// lie is the key of contexts of calls that are only to be said to be done.
type lie struct{}

func (d *Driver) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	call := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	if v, ok := request.(interface{ GetVolumeId() string }); ok && strings.HasPrefix(call, "Node") && call != "NodeGetVolumeStats" {
		if f, err := os.OpenFile(filepath.Join(d.Dir, "calls", d.Node), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err == nil {
			fmt.Fprintln(f, call, v.GetVolumeId())
			f.Close()
		}
	}
	fault, err := os.ReadFile(filepath.Join(d.Dir, "faults", call))
	switch {
	case err != nil:
		return handler(ctx, request)
	case string(fault) == "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case string(fault) == "lie":
		return handler(context.WithValue(ctx, lie{}, true), request)
	}
	return nil, status.Error(codes.Internal, string(fault))
}

// lies says that the call is only to be said to be done.
func lies(ctx context.Context) bool { return ctx.Value(lie{}) != nil }

// GetInfo implements the protocol of registration.
func (d *Driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: d.Name, Endpoint: d.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

// NotifyRegistrationStatus implements the protocol of registration.
func (d *Driver) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	select {
	case d.told <- s:
	default:
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// GetPluginInfo implements the interface.
func (d *Driver) GetPluginInfo(context.Context, *spec.GetPluginInfoRequest) (*spec.GetPluginInfoResponse, error) {
	return &spec.GetPluginInfoResponse{Name: d.Name, VendorVersion: "1"}, nil
}

// Probe implements the interface.
func (d *Driver) Probe(context.Context, *spec.ProbeRequest) (*spec.ProbeResponse, error) {
	return &spec.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

// GetPluginCapabilities implements the interface.
func (d *Driver) GetPluginCapabilities(context.Context, *spec.GetPluginCapabilitiesRequest) (*spec.GetPluginCapabilitiesResponse, error) {
	service := func(t spec.PluginCapability_Service_Type) *spec.PluginCapability {
		return &spec.PluginCapability{Type: &spec.PluginCapability_Service_{Service: &spec.PluginCapability_Service{Type: t}}}
	}
	all := []*spec.PluginCapability{
		service(spec.PluginCapability_Service_CONTROLLER_SERVICE),
		{Type: &spec.PluginCapability_VolumeExpansion_{VolumeExpansion: &spec.PluginCapability_VolumeExpansion{Type: spec.PluginCapability_VolumeExpansion_ONLINE}}},
	}
	if d.Topology != nil {
		all = append(all, service(spec.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS))
	}
	return &spec.GetPluginCapabilitiesResponse{Capabilities: all}, nil
}

package csi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gitopsd/gitopsd/internal/kubelet/plugins"
)

// driver is one that has registered.
type driver struct {
	name     string
	conn     *grpc.ClientConn
	node     spec.NodeClient
	can      capabilities
	info     nodeInfo
	patience time.Duration
}

// nodeInfo is what a driver says of the node.
type nodeInfo struct {
	Driver   string
	ID       string
	Limit    int64             // of volumes that can be attached; 0 for none
	Topology map[string]string // labels of where the node is
}

// open connects to a driver and asks what it is.
func open(ctx context.Context, p plugins.Plugin, patience time.Duration) (_ *driver, err error) {
	if !slices.ContainsFunc(p.Versions, func(v string) bool { return strings.HasPrefix(strings.TrimPrefix(v, "v"), "1.") }) {
		return nil, fmt.Errorf("it speaks the versions %v of the Container Storage Interface, and this node 1.x", p.Versions)
	}
	conn, err := plugins.Connect(p.Endpoint)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	d := &driver{name: p.Name, conn: conn, node: spec.NewNodeClient(conn), can: capabilities{}, patience: patience}
	who, err := called(ctx, d, "GetPluginInfo", spec.NewIdentityClient(conn).GetPluginInfo, &spec.GetPluginInfoRequest{})
	if err != nil {
		return nil, err
	}
	if who.Name != p.Name {
		return nil, fmt.Errorf("it registers as %q, and at %s is the driver %q", p.Name, p.Endpoint, who.Name)
	}
	said, err := called(ctx, d, "NodeGetCapabilities", d.node.NodeGetCapabilities, &spec.NodeGetCapabilitiesRequest{})
	if err != nil {
		return nil, err
	}
	for _, c := range said.Capabilities {
		d.can[c.GetRpc().GetType()] = true
	}
	here, err := called(ctx, d, "NodeGetInfo", d.node.NodeGetInfo, &spec.NodeGetInfoRequest{})
	if err != nil {
		return nil, err
	}
	if here.NodeId == "" {
		return nil, errors.New("it knows no ID of this node (NodeGetInfo gave an empty node_id)")
	}
	d.info = nodeInfo{Driver: p.Name, ID: here.NodeId, Limit: max(here.MaxVolumesPerNode, 0), Topology: here.AccessibleTopology.GetSegments()}
	return d, nil
}

// called calls a driver, which has d.patience to answer.
func called[Q, A any](ctx context.Context, d *driver, name string, f func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	answer, err := f(ctx, request)
	if err == nil {
		return answer, nil
	}
	switch code := status.Code(err); {
	case code == codes.DeadlineExceeded && ctx.Err() != nil:
		err = fmt.Errorf("%s: driver %s has not answered for %v; look at its Pod on this node", name, d.name, d.patience)
	case code == codes.Unavailable:
		err = fmt.Errorf("%s: driver %s does not answer; look at its Pod on this node: %w", name, d.name, err)
	default:
		err = fmt.Errorf("%s: driver %s: %w", name, d.name, err)
	}
	return answer, err
}

// missing says that a driver is not there.
func missing(name string) error {
	return fmt.Errorf("driver name %s not found in the list of registered CSI drivers: it has not registered on this node, or is gone; look at its Pod here", name)
}

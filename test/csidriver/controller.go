package csidriver

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// data is where the files of a volume are, image what its device is made from, and size how large it is.
func (d *Driver) data(id string) string  { return filepath.Join(d.Dir, "volumes", id, "data") }
func (d *Driver) image(id string) string { return filepath.Join(d.Dir, "volumes", id, "image") }
func (d *Driver) size(id string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(d.Dir, "volumes", id, "size"))
	if err != nil {
		return 0, status.Errorf(codes.NotFound, "there is no volume %s", id)
	}
	return strconv.ParseInt(string(b), 10, 64)
}

// Make makes a volume.
func (d *Driver) Make(id string, size int64) error {
	if err := os.MkdirAll(d.data(id), 0o777); err != nil {
		return err
	}
	if err := os.Chmod(d.data(id), 0o777); err != nil { // the umask does not apply to it
		return err
	}
	f, err := os.OpenFile(d.image(id), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.Dir, "volumes", id, "size"), []byte(strconv.FormatInt(size, 10)), 0o600)
}

// ControllerGetCapabilities implements the interface.
func (d *Driver) ControllerGetCapabilities(context.Context, *spec.ControllerGetCapabilitiesRequest) (*spec.ControllerGetCapabilitiesResponse, error) {
	can := []spec.ControllerServiceCapability_RPC_Type{
		spec.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME, spec.ControllerServiceCapability_RPC_EXPAND_VOLUME, spec.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		spec.ControllerServiceCapability_RPC_MODIFY_VOLUME,
	}
	if d.Attaches {
		can = append(can, spec.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME)
	}
	r := &spec.ControllerGetCapabilitiesResponse{}
	for _, c := range can {
		r.Capabilities = append(r.Capabilities, &spec.ControllerServiceCapability{Type: &spec.ControllerServiceCapability_Rpc{Rpc: &spec.ControllerServiceCapability_RPC{Type: c}}})
	}
	return r, nil
}

// CreateVolume implements the interface.
func (d *Driver) CreateVolume(_ context.Context, r *spec.CreateVolumeRequest) (*spec.CreateVolumeResponse, error) {
	size := max(r.CapacityRange.GetRequiredBytes(), 1<<20)
	if err := d.Make(r.Name, size); err != nil {
		return nil, err
	}
	v := &spec.Volume{VolumeId: r.Name, CapacityBytes: size, VolumeContext: r.Parameters}
	if d.Topology != nil {
		v.AccessibleTopology = r.AccessibilityRequirements.GetRequisite()
	}
	return &spec.CreateVolumeResponse{Volume: v}, nil
}

// DeleteVolume implements the interface.
func (d *Driver) DeleteVolume(_ context.Context, r *spec.DeleteVolumeRequest) (*spec.DeleteVolumeResponse, error) {
	return &spec.DeleteVolumeResponse{}, os.RemoveAll(filepath.Join(d.Dir, "volumes", r.VolumeId))
}

// ValidateVolumeCapabilities implements the interface.
func (d *Driver) ValidateVolumeCapabilities(_ context.Context, r *spec.ValidateVolumeCapabilitiesRequest) (*spec.ValidateVolumeCapabilitiesResponse, error) {
	return &spec.ValidateVolumeCapabilitiesResponse{Confirmed: &spec.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.VolumeCapabilities}}, nil
}

// ControllerPublishVolume implements the interface. A volume that several nodes cannot have is attached to one at a time.
func (d *Driver) ControllerPublishVolume(_ context.Context, r *spec.ControllerPublishVolumeRequest) (*spec.ControllerPublishVolumeResponse, error) {
	file := filepath.Join(d.Dir, "attached", r.VolumeId)
	if b, err := os.ReadFile(file); err == nil && string(b) != r.NodeId {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is attached to %s", r.VolumeId, b)
	}
	if err := os.WriteFile(file, []byte(r.NodeId), 0o600); err != nil {
		return nil, err
	}
	return &spec.ControllerPublishVolumeResponse{PublishContext: map[string]string{"attached-to": r.NodeId}}, nil
}

// ControllerUnpublishVolume implements the interface.
func (d *Driver) ControllerUnpublishVolume(_ context.Context, r *spec.ControllerUnpublishVolumeRequest) (*spec.ControllerUnpublishVolumeResponse, error) {
	file := filepath.Join(d.Dir, "attached", r.VolumeId)
	if b, err := os.ReadFile(file); err == nil && (r.NodeId == "" || string(b) == r.NodeId) {
		return &spec.ControllerUnpublishVolumeResponse{}, os.Remove(file)
	}
	return &spec.ControllerUnpublishVolumeResponse{}, nil
}

// isAttached has the node refuse what its controller has not attached to it.
func (d *Driver) isAttached(id string, told map[string]string) error {
	b, err := os.ReadFile(filepath.Join(d.Dir, "attached", id))
	if err != nil || string(b) != d.Node || told["attached-to"] != d.Node {
		return status.Errorf(codes.FailedPrecondition, "volume %s is attached to %q, and this is %s, which was told %v", id, b, d.Node, told)
	}
	return nil
}

// ControllerExpandVolume implements the interface.
func (d *Driver) ControllerExpandVolume(_ context.Context, r *spec.ControllerExpandVolumeRequest) (*spec.ControllerExpandVolumeResponse, error) {
	size := r.CapacityRange.GetRequiredBytes()
	return &spec.ControllerExpandVolumeResponse{CapacityBytes: size, NodeExpansionRequired: true}, d.Make(r.VolumeId, size)
}

// ControllerModifyVolume implements the interface. It cannot do what the parameter "impossible" asks.
func (d *Driver) ControllerModifyVolume(_ context.Context, r *spec.ControllerModifyVolumeRequest) (*spec.ControllerModifyVolumeResponse, error) {
	if _, asked := r.MutableParameters["impossible"]; asked {
		return nil, status.Errorf(codes.InvalidArgument, "volume %s cannot do what is impossible", r.VolumeId)
	}
	var text strings.Builder
	for k, v := range r.MutableParameters {
		text.WriteString(k + "=" + v + "\n")
	}
	return &spec.ControllerModifyVolumeResponse{}, os.WriteFile(filepath.Join(d.Dir, "volumes", r.VolumeId, "modified"), []byte(text.String()), 0o600)
}

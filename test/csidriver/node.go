package csidriver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NodeGetInfo implements the interface.
func (d *Driver) NodeGetInfo(ctx context.Context, _ *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	r := &spec.NodeGetInfoResponse{NodeId: d.Node, MaxVolumesPerNode: d.Limit}
	if d.Topology != nil {
		r.AccessibleTopology = &spec.Topology{Segments: d.Topology}
	}
	if lies(ctx) {
		r.NodeId = ""
	}
	return r, nil
}

// NodeGetCapabilities implements the interface.
func (d *Driver) NodeGetCapabilities(context.Context, *spec.NodeGetCapabilitiesRequest) (*spec.NodeGetCapabilitiesResponse, error) {
	can := []spec.NodeServiceCapability_RPC_Type{
		spec.NodeServiceCapability_RPC_GET_VOLUME_STATS, spec.NodeServiceCapability_RPC_EXPAND_VOLUME, spec.NodeServiceCapability_RPC_VOLUME_CONDITION, spec.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	if d.Stages {
		can = append(can, spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME)
	}
	r := &spec.NodeGetCapabilitiesResponse{}
	for _, c := range can {
		r.Capabilities = append(r.Capabilities, &spec.NodeServiceCapability{Type: &spec.NodeServiceCapability_Rpc{Rpc: &spec.NodeServiceCapability_RPC{Type: c}}})
	}
	return r, nil
}

// NodeStageVolume implements the interface.
func (d *Driver) NodeStageVolume(ctx context.Context, r *spec.NodeStageVolumeRequest) (*spec.NodeStageVolumeResponse, error) {
	if d.Attaches {
		if err := d.isAttached(r.VolumeId, r.PublishContext); err != nil {
			return nil, err
		}
	}
	if lies(ctx) || r.VolumeCapability.GetBlock() != nil {
		return &spec.NodeStageVolumeResponse{}, nil
	}
	return &spec.NodeStageVolumeResponse{}, bind(d.data(r.VolumeId), r.StagingTargetPath, false)
}

// NodeUnstageVolume implements the interface.
func (d *Driver) NodeUnstageVolume(ctx context.Context, r *spec.NodeUnstageVolumeRequest) (*spec.NodeUnstageVolumeResponse, error) {
	if lies(ctx) {
		return &spec.NodeUnstageVolumeResponse{}, nil
	}
	return &spec.NodeUnstageVolumeResponse{}, unbind(r.StagingTargetPath)
}

// NodePublishVolume implements the interface.
func (d *Driver) NodePublishVolume(ctx context.Context, r *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	done := &spec.NodePublishVolumeResponse{}
	if d.Attaches && r.VolumeContext["csi.storage.k8s.io/ephemeral"] != "true" {
		if err := d.isAttached(r.VolumeId, r.PublishContext); err != nil {
			return nil, err
		}
	}
	if r.VolumeContext["csi.storage.k8s.io/ephemeral"] == "true" {
		if err := os.MkdirAll(d.data(r.VolumeId), 0o755); err != nil {
			return nil, err
		}
	}
	// What the driver was told is a file in the volume, for whoever wants to see it.
	if about := r.VolumeContext["write-context-to"]; about != "" {
		text := ""
		for k, v := range r.VolumeContext {
			text += k + "=" + v + "\n"
		}
		if err := os.WriteFile(filepath.Join(d.data(r.VolumeId), about), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if lies(ctx) {
		return done, os.MkdirAll(r.TargetPath, 0o755)
	}
	if r.VolumeCapability.GetBlock() != nil {
		device, err := loop(d.image(r.VolumeId))
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(r.TargetPath, os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return nil, err
		}
		f.Close()
		return done, bind(device, r.TargetPath, false)
	}
	from := d.data(r.VolumeId)
	if d.Stages && r.StagingTargetPath != "" {
		from = r.StagingTargetPath
	}
	if err := os.MkdirAll(r.TargetPath, 0o755); err != nil {
		return nil, err
	}
	return done, bind(from, r.TargetPath, r.Readonly)
}

// NodeUnpublishVolume implements the interface.
func (d *Driver) NodeUnpublishVolume(ctx context.Context, r *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	done := &spec.NodeUnpublishVolumeResponse{}
	if lies(ctx) {
		return done, nil
	}
	if err := unbind(r.TargetPath); err != nil {
		return nil, err
	}
	if err := unloop(d.image(r.VolumeId)); err != nil {
		return nil, err
	}
	if strings.HasPrefix(r.VolumeId, "csi-") {
		return done, os.RemoveAll(filepath.Dir(d.data(r.VolumeId))) // an inline volume ends with its Pod
	}
	return done, os.RemoveAll(r.TargetPath)
}

// NodeGetVolumeStats implements the interface.
func (d *Driver) NodeGetVolumeStats(ctx context.Context, r *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	if _, err := os.Stat(r.VolumePath); err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	size, err := d.size(r.VolumeId)
	if err != nil {
		return nil, err
	}
	usage := &spec.VolumeUsage{Unit: spec.VolumeUsage_BYTES, Total: size, Used: size / 4, Available: size - size/4}
	if lies(ctx) {
		usage.Total = -1
	}
	return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{usage}, VolumeCondition: &spec.VolumeCondition{Abnormal: lies(ctx), Message: "it is on fire"}}, nil
}

// NodeExpandVolume implements the interface.
func (d *Driver) NodeExpandVolume(ctx context.Context, r *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	if lies(ctx) {
		return &spec.NodeExpandVolumeResponse{CapacityBytes: 1}, nil
	}
	return &spec.NodeExpandVolumeResponse{CapacityBytes: r.CapacityRange.GetRequiredBytes()}, nil
}

func mounted(path string) bool {
	var st unix.Statx_t
	return unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st) == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func bind(from, to string, readOnly bool) error {
	if mounted(to) {
		return nil
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return status.Errorf(codes.Internal, "mounting %s at %s: %v", from, to, err)
	}
	if readOnly {
		return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

func unbind(path string) error {
	for mounted(path) {
		if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil {
			return status.Errorf(codes.Internal, "unmounting %s: %v", path, err)
		}
	}
	return nil
}

// loop gives the loop device of a file.
func loop(file string) (string, error) {
	if out, err := exec.Command("losetup", "-n", "-O", "NAME", "-j", file).Output(); err == nil && len(out) > 0 {
		return strings.Fields(string(out))[0], nil
	}
	out, err := exec.Command("losetup", "-f", "--show", file).Output()
	if err != nil {
		var x *exec.ExitError
		if errors.As(err, &x) {
			err = fmt.Errorf("%w: %s", err, x.Stderr)
		}
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

func unloop(file string) error {
	out, err := exec.Command("losetup", "-n", "-O", "NAME", "-j", file).Output()
	if err != nil || len(out) == 0 {
		return nil // this host has no losetup, or the file no device
	}
	return exec.Command("losetup", "-d", strings.Fields(string(out))[0]).Run()
}

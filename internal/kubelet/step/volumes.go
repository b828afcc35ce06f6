package step

import (
	"context"
	"path/filepath"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/csi"
	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/podcert"
	"github.com/gitopsd/gitopsd/internal/kubelet/reference"
	"github.com/gitopsd/gitopsd/internal/kubelet/trust"
	"github.com/gitopsd/gitopsd/internal/kubelet/volume"
)

// VolumesName is the name of the step that is refreshed when what volumes are made from may have changed.
const VolumesName = "volumes"

// Volumes makes the Pod's volumes.
type Volumes struct {
	Objects      *reference.Objects
	Bundles      *trust.Bundles
	Certificates *podcert.Store
	Facts        func() env.Facts
	Images       *image.Store // nil where there is no containerd any more
	Disks        volume.Disks
	Drivers      *csi.Node // nil where they are gone with the node
	// Mounted is told where the volumes of the Pod's claims are, by claim; nothing of those that a driver has mounted, as to look at one can take for ever.
	Mounted func(pod *v1.Pod, paths map[string]string)
}

// sources is what volumes are made from, each kind from who has it.
type sources struct {
	reference.Namespaced
	*trust.Bundles
	*podcert.Store
	volume.Disks
	volume.Drivers
}

var _ volume.Source = sources{}

var _ Step = Volumes{}

// Name is how other steps refer to it.
func (Volumes) Name() string { return VolumesName }

// Needs the directory that volumes are made in, and the control group, so that what a container writes to memory volumes is not charged to nobody.
func (Volumes) Needs() []string { return []string{"directory"} }

// Setup makes the volumes or brings them up to date.
func (v Volumes) Setup(ctx context.Context, s *Sandbox) error {
	made, err := volume.Setup(ctx, filepath.Join(s.Dir, volumesDir), s.Pod, v.Facts(), sources{v.Objects.For(ctx, s.Pod.Namespace), v.Bundles, v.Certificates, v.Disks, v.Drivers})
	if err != nil {
		return err
	}
	for i := range s.Pod.Spec.Volumes {
		if v := &s.Pod.Spec.Volumes[i]; v.Image != nil {
			made[v.Name] = volume.Volume{Path: s.ImageVolume(v.Name), ReadOnly: true, FromImage: true}
		}
	}
	s.Volumes = made
	claims := map[string]string{}
	for _, v := range made {
		switch {
		case v.Claim == "":
		case v.Driver:
			claims[v.Claim] = ""
		default:
			claims[v.Claim] = v.Path
		}
	}
	if len(claims) > 0 {
		v.Mounted(s.Pod, claims)
	}
	return nil
}

// Teardown unmounts and removes the volumes.
func (v Volumes) Teardown(ctx context.Context, s *Sandbox) error {
	if v.Certificates != nil {
		v.Certificates.Forget(s.Pod.UID)
	}
	if err := v.Images.RemoveVolumes(ctx, string(s.Pod.UID), filepath.Join(s.Dir, imagesDir)); err != nil {
		return err
	}
	if v.Drivers != nil {
		if err := v.Drivers.Unmount(ctx, s.Pod.UID); err != nil {
			return err
		}
	}
	if err := volume.Teardown(filepath.Join(s.Dir, volumesDir)); err != nil || v.Drivers == nil {
		return err
	}
	return v.Drivers.Release(s.Pod.UID)
}

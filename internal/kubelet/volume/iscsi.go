package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/kubelet/iscsi"
)

// iscsiDisk is a volume on the disk of an iSCSI target.
type iscsiDisk struct {
	iscsi.Target
	Secret          *v1.SecretReference
	FSType          string
	Block, ReadOnly bool
	Options         []string
}

func ofPod(pod *v1.Pod, s *v1.ISCSIVolumeSource) iscsiDisk {
	d := iscsiDisk{Target: iscsi.OfPod(s), FSType: s.FSType, ReadOnly: s.ReadOnly}
	if s.SecretRef != nil {
		d.Secret = &v1.SecretReference{Namespace: pod.Namespace, Name: s.SecretRef.Name}
	}
	return d
}

func ofVolume(v *v1.PersistentVolume, claim *v1.PersistentVolumeClaim, readOnly bool) iscsiDisk {
	s := v.Spec.ISCSI
	d := iscsiDisk{Target: iscsi.OfVolume(s), FSType: s.FSType, ReadOnly: readOnly || s.ReadOnly, Options: v.Spec.MountOptions, Secret: s.SecretRef}
	d.Block = ptr.Deref(v.Spec.VolumeMode, v1.PersistentVolumeFilesystem) == v1.PersistentVolumeBlock
	if d.Secret != nil && d.Secret.Namespace == "" {
		d.Secret = &v1.SecretReference{Namespace: claim.Namespace, Name: d.Secret.Name}
	}
	return d
}

// setup mounts the disk at a Pod's own path, or gives its device.
func (d iscsiDisk) setup(ctx context.Context, path string, pod *v1.Pod, src Source) (Volume, error) {
	made := Volume{Path: path, ReadOnly: d.ReadOnly}
	if !d.Block && isMount(path) {
		return made, nil
	}
	var secret map[string]string
	if d.CHAP && d.Secret != nil {
		var err error
		if secret, err = src.SecretOf(ctx, d.Secret); err != nil {
			return Volume{}, err
		}
	}
	device, err := iscsi.Connect(ctx, path, d.Target, secret)
	if err != nil || d.Block {
		return Volume{Path: device, Block: true, ReadOnly: d.ReadOnly}, err
	}
	if err := d.mount(ctx, device, path); err != nil {
		return Volume{}, fmt.Errorf("the disk %d of %s: %w", d.LUN, d.IQN, err)
	}
	if d.ReadOnly {
		return made, nil
	}
	return made, own(path, pod)
}

// mount makes a file system on a device on which there is nothing, and mounts it.
func (d iscsiDisk) mount(ctx context.Context, device, at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	kind := cmp.Or(d.FSType, "ext4")
	found, err := contentOf(ctx, device)
	switch {
	case err != nil:
		return err
	case found == "" && d.ReadOnly:
		return fmt.Errorf("%s is empty, and nothing may be written to it: have it formatted by a Pod that may", device)
	case found == "":
		args := []string{device}
		if strings.HasPrefix(kind, "ext") {
			args = []string{"-q", "-F", "-m", "0", device} // no blocks for root alone: the volume is for its Pod
		}
		if err := run(ctx, "mkfs."+kind, args...); err != nil {
			return err
		}
	case found != kind && d.FSType != "":
		return fmt.Errorf("%s has %s, and fsType is %s: nothing is written over; correct fsType, or empty the disk", device, found, kind)
	default:
		kind = found
	}
	options := append(slices.Clone(d.Options), "nosuid", "nodev", "_netdev")
	if d.ReadOnly {
		options = append(options, "ro")
	}
	return run(ctx, "mount", "-t", kind, "-o", strings.Join(options, ","), device, at)
}

// contentOf names what a device begins with, a file system or a table of partitions; empty if there is nothing that anybody knows.
func contentOf(ctx context.Context, device string) (string, error) {
	out, err := exec.CommandContext(ctx, "blkid", "-p", "-o", "export", "-s", "TYPE", "-s", "PTTYPE", device).CombinedOutput()
	const nothing = 2 // blkid(8)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == nothing {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking what is on %s: blkid: %w: %s", device, err, strings.TrimSpace(string(out)))
	}
	for line := range strings.Lines(string(out)) {
		if _, found, ok := strings.Cut(strings.TrimSpace(line), "TYPE="); ok {
			return found, nil
		}
	}
	return "", fmt.Errorf("looking what is on %s: blkid does not say; nothing is written over", device)
}

func run(ctx context.Context, program string, args ...string) error {
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

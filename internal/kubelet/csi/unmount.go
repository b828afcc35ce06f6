package csi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/mounts"
)

// Unmount lets go of all volumes of a Pod, and of what is staged for nobody else. It works from what is on the disk, and may be repeated.
func (n *Node) Unmount(ctx context.Context, pod types.UID) error {
	found, bad := n.at().published(string(pod))
	for _, r := range found {
		if err := n.unmount(ctx, r); err != nil {
			bad = errors.Join(bad, fmt.Errorf("UnmountVolume.TearDown failed for volume %q : %w", r.InPod, err))
		}
	}
	n.mu.Lock()
	delete(n.figures, pod)
	n.mu.Unlock()
	if bad != nil {
		return bad
	}
	n.at().prune(string(pod))
	return nil
}

func (n *Node) unmount(ctx context.Context, r record) error {
	give, err := n.take(ctx, r.key())
	if err != nil {
		return err
	}
	defer give()
	d := n.driver(r.Driver)
	if d == nil {
		return missing(r.Driver)
	}
	target := n.at().target(r.Pod, r.Name, r.Block)
	if _, err := called(ctx, d, "NodeUnpublishVolume", d.node.NodeUnpublishVolume, &spec.NodeUnpublishVolumeRequest{VolumeId: r.Handle, TargetPath: target}); err != nil {
		return err
	}
	if err := gone("NodeUnpublishVolume", r, target); err != nil {
		return err
	}
	all, err := n.at().published("*")
	if err != nil {
		return err
	}
	last := true
	for _, other := range all {
		last = last && (other.Pod == r.Pod || other.key() != r.key())
	}
	if last {
		if err := n.unstage(ctx, d, r); err != nil {
			return err
		}
	}
	// The record goes last: while it is there all of this is done again.
	dir := n.at().volume(r.Pod, r.Name)
	if r.Block {
		os.Remove(filepath.Dir(target))
	}
	if err := os.RemoveAll(filepath.Join(dir, recordFile)); err != nil {
		return err
	}
	os.Remove(dir)
	n.letGo(r)
	if last {
		n.mu.Lock()
		delete(n.told, r.key())
		n.mu.Unlock()
	}
	return nil
}

// unstage undoes stage, if that was done.
func (n *Node) unstage(ctx context.Context, d *driver, of record) error {
	dir, at := n.at().stage(of)
	r, err := load(dir)
	if r == nil || err != nil {
		return err
	}
	if _, err := called(ctx, d, "NodeUnstageVolume", d.node.NodeUnstageVolume, &spec.NodeUnstageVolumeRequest{VolumeId: r.Handle, StagingTargetPath: at}); err != nil {
		return err
	}
	if err := gone("NodeUnstageVolume", *r, at); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, recordFile)); err != nil {
		return err
	}
	os.Remove(dir)
	if r.Block {
		os.Remove(filepath.Dir(dir))
	}
	n.letGo(*r)
	return nil
}

// gone removes the place where a volume was, which its driver may have left, and never what is in it.
func gone(call string, r record, path string) error {
	if mounts.IsPoint(path) {
		return fmt.Errorf("%s: driver %s said that it has let the volume go, and it is still mounted at %s; nothing there is touched: unmount it by hand, or restart the driver", call, r.Driver, path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: driver %s said that it has let the volume go, and there is something left at %s; nothing there is touched: %w", call, r.Driver, path, err)
	}
	return nil
}

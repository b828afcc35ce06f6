package csi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// hold is a volume that is in use here, or about to be, and that other nodes must not get meanwhile.
//
// The rule that keeps it from two nodes: the Node's status says that it is in use (which this node writes) before it is looked whether the same version of
// that status, or a later one, lists it as attached (which the control plane writes). What was listed before it was said to be in use counts for nothing: it may
// have been given to another node since.
type hold struct {
	by map[string]bool // Pods, and "" for what is staged
	// since is the version of the Node from which on its status says so; empty while it has not been written.
	since string
}

// InUse are the volumes that must not be detached from this node.
func (n *Node) InUse() []v1.UniqueVolumeName {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.holds))
}

// Reported is told that the Node's status says since a version that volumes are in use, and will until InUse gives less.
func (n *Node) Reported(inUse []v1.UniqueVolumeName, version string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range inUse {
		if h := n.holds[name]; h != nil && h.since == "" {
			h.since = version
			n.wake()
		}
	}
}

// wake has whoever waits for the Node look again. The lock is held.
func (n *Node) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// hold has a volume in use by a Pod, or by being staged.
func (n *Node) hold(r record) {
	if r.Held == "" {
		return
	}
	n.mu.Lock()
	h := n.holds[r.Held]
	if h == nil {
		h = &hold{by: map[string]bool{}}
		n.holds[r.Held] = h
	}
	h.by[r.Pod] = true
	fresh := h.since == ""
	n.mu.Unlock()
	if fresh {
		n.InUseChanged()
	}
}

// letGo undoes hold.
func (n *Node) letGo(r record) {
	n.mu.Lock()
	h := n.holds[r.Held]
	last := false
	if h != nil {
		delete(h.by, r.Pod)
		if last = len(h.by) == 0; last {
			delete(n.holds, r.Held)
		}
	}
	n.mu.Unlock()
	if last {
		n.InUseChanged()
	}
}

// attachPatience is how long a Pod's setup waits at a time for a volume to be attached, as upstream. The Pod tries again after it.
const attachPatience = 2 * time.Minute

// granted waits until the cluster lets this node use a volume that it holds.
func (n *Node) granted(ctx context.Context, name v1.UniqueVolumeName, why func() string) error {
	wait, cancel := context.WithTimeout(ctx, attachPatience)
	defer cancel()
	for {
		n.mu.Lock()
		changed, since := n.changed, ""
		if h := n.holds[name]; h != nil {
			since = h.since
		}
		n.mu.Unlock()
		if lists(n.Stored(), name, since) {
			return nil
		}
		select {
		case <-changed:
		case <-wait.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("timed out waiting for the condition: the volume is not attached to this node%s", why())
		}
	}
}

// lists says that a Node's status, of a version or later, lists a volume that it also says is in use.
func lists(node *v1.Node, name v1.UniqueVolumeName, since string) bool {
	if node == nil || since == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(node.ResourceVersion, since)
	return err == nil && order >= 0 && slices.Contains(node.Status.VolumesInUse, name) &&
		slices.ContainsFunc(node.Status.VolumesAttached, func(a v1.AttachedVolume) bool { return a.Name == name })
}

// attached waits until a volume may be used, and gives what its driver's controller wants its node part to know.
func (n *Node) attached(ctx context.Context, p plan) (map[string]string, error) {
	if !p.Attached {
		return nil, n.granted(ctx, p.Held, func() string { return ": another node may still be writing to it; the Pod's Events say which" })
	}
	name := pv.AttachmentName(p.Driver, p.Handle, n.Name)
	read := func() (*storagev1.VolumeAttachment, error) {
		return n.Client.StorageV1().VolumeAttachments().Get(ctx, name, metav1.GetOptions{})
	}
	err := n.granted(ctx, p.Held, func() string {
		switch a, err := read(); {
		case apierrors.IsNotFound(err):
			return ": there is no VolumeAttachment for it yet"
		case err != nil:
			return ""
		case a.Status.AttachError != nil:
			return fmt.Sprintf(": its driver says: %s (VolumeAttachment %s)", a.Status.AttachError.Message, name)
		}
		return fmt.Sprintf(": the driver %s has not answered the VolumeAttachment %s; look at the Pod of its csi-attacher", p.Driver, name)
	})
	if err != nil {
		return nil, err
	}
	a, err := read()
	if err != nil {
		return nil, fmt.Errorf("reading how the volume is attached to this node: %w", err)
	}
	if !a.Status.Attached || a.DeletionTimestamp != nil {
		return nil, errors.New("the volume is being detached from this node; it is tried again")
	}
	return a.Status.AttachmentMetadata, nil
}

// Hold waits until a volume that no driver mounts may be used by a Pod here, and has it kept from other nodes until Release. It may be repeated.
func (n *Node) Hold(ctx context.Context, pod *v1.Pod, v *v1.PersistentVolume) error {
	if pv.HoldOf(v, nil) == pv.Free {
		return nil
	}
	r := record{Driver: "none", Handle: v.Name, Name: v.Name, Pod: string(pod.UID), Held: pv.UniqueName(v)}
	dir := n.at().hold(r.Pod, r.Name)
	before, err := load(dir)
	if err != nil || before != nil {
		return err
	}
	n.hold(r)
	err = n.granted(ctx, r.Held, func() string { return ": another node may still be writing to it; the Pod's Events say which" })
	if err == nil {
		err = r.save(dir)
	}
	if err != nil {
		n.letGo(r)
	}
	return err
}

// Release undoes Hold for all volumes of a Pod. It is called when nothing of the Pod is mounted any more.
func (n *Node) Release(pod types.UID) error {
	found, bad := n.at().held(string(pod))
	for _, r := range found {
		if err := os.RemoveAll(n.at().hold(r.Pod, r.Name)); err != nil {
			return err
		}
		n.letGo(r)
	}
	n.at().prune(string(pod))
	return bad
}

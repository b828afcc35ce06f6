package csi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/kubelet/mounts"
)

// Mounted is what became of a volume.
type Mounted struct {
	Path  string
	Block bool
	// Group is to be given the files; nil if that is not to be done, or the driver has done it.
	Group *int64
}

// Mount makes a volume ready for a Pod. It may be repeated, and then does what is still to be done: the volume may have grown, or its driver wants to be asked again
// and again.
func (n *Node) Mount(ctx context.Context, v Volume) (Mounted, error) {
	name := v.Name
	if v.Persistent != nil {
		name = v.Persistent.Name
	}
	before, err := load(n.at().volume(string(v.Pod.UID), name))
	if err != nil {
		return Mounted{}, err
	}
	there := before != nil && before.Boot == n.boot
	if there && !before.Republish && expandTo(v) == 0 {
		return Mounted{Path: n.at().target(before.Pod, before.Name, before.Block), Block: before.Block}, nil
	}
	d := n.driver(v.driver())
	if d == nil {
		return Mounted{}, missing(v.driver())
	}
	what, err := n.Client.StorageV1().CSIDrivers().Get(ctx, d.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		what = nil
	} else if err != nil {
		return Mounted{}, fmt.Errorf("reading the CSIDriver %s: %w", d.name, err)
	}
	v.Label = n.Label(v.Pod)
	p, err := decide(v, what, d.can, n.at())
	if err != nil {
		return Mounted{}, err
	}
	var attachment map[string]string
	if p.Held != "" {
		n.hold(p.record)
		if attachment, err = n.attached(ctx, p); err != nil {
			if before == nil {
				n.letGo(p.record)
			}
			return Mounted{}, err
		}
	}
	give, err := n.take(ctx, p.key())
	if err != nil {
		return Mounted{}, err
	}
	defer give()
	if !there || before.Republish {
		if err := n.mount(ctx, d, p, v.Pod, attachment, there); err != nil {
			return Mounted{}, err
		}
	}
	if err := n.expand(ctx, d, p, v); err != nil {
		return Mounted{}, err
	}
	m := Mounted{Path: p.Target, Block: p.Block}
	if !there {
		m.Group = p.Group
	}
	return m, nil
}

// mount stages and publishes. again says that it is published already.
func (n *Node) mount(ctx context.Context, d *driver, p plan, pod *v1.Pod, attachment map[string]string, again bool) error {
	p.Boot = "" // not known yet how far it gets
	if !again {
		if err := p.save(p.PublishDir); err != nil {
			return err
		}
	}
	n.hold(p.record)
	if p.Stage {
		if err := n.stage(ctx, d, p, attachment); err != nil {
			return err
		}
	}
	secrets, err := n.SecretOf(ctx, p.PublishSecret)
	if err != nil {
		return err
	}
	about := maps.Clone(p.Context)
	if about == nil {
		about = map[string]string{}
	}
	maps.Copy(about, p.PodInfo)
	if tokens, err := n.tokens(ctx, pod, p.Tokens); err != nil {
		return err
	} else if tokens != "" && p.InSecrets {
		secrets[tokensKey] = tokens
	} else if tokens != "" {
		about[tokensKey] = tokens
	}
	if err := os.MkdirAll(filepath.Dir(p.Target), 0o750); err != nil {
		return err
	}
	request := &spec.NodePublishVolumeRequest{
		VolumeId: p.Handle, PublishContext: attachment, TargetPath: p.Target, VolumeCapability: p.Capability, Readonly: p.ReadOnly, Secrets: secrets, VolumeContext: about,
	}
	if p.Stage {
		request.StagingTargetPath = p.Staging
	}
	if _, err := called(ctx, d, "NodePublishVolume", d.node.NodePublishVolume, request); err != nil {
		return err
	}
	if err := p.believe(); err != nil {
		return err
	}
	p.Boot = n.boot
	return p.save(p.PublishDir)
}

// stage stages a volume unless it has been since the host was started.
func (n *Node) stage(ctx context.Context, d *driver, p plan, attachment map[string]string) error {
	r := p.record
	r.Pod, r.Claim, r.InPod, r.Boot = "", "", "", ""
	before, err := load(p.StageDir)
	if err != nil || before != nil && before.Boot == n.boot {
		return err
	}
	secrets, err := n.SecretOf(ctx, p.StageSecret)
	if err != nil {
		return err
	}
	if err := r.save(p.StageDir); err != nil {
		return err
	}
	n.hold(r)
	if err := os.MkdirAll(p.Staging, 0o750); err != nil {
		return err
	}
	if _, err := called(ctx, d, "NodeStageVolume", d.node.NodeStageVolume, &spec.NodeStageVolumeRequest{
		VolumeId: p.Handle, PublishContext: attachment, StagingTargetPath: p.Staging, VolumeCapability: p.Capability, Secrets: secrets, VolumeContext: p.Context,
	}); err != nil {
		return err
	}
	r.Boot = n.boot
	return r.save(p.StageDir)
}

// believe compares what a driver said that it published with what is there: a Pod without its volume would write to this node's own disk.
func (p plan) believe() error {
	info, err := os.Stat(p.Target)
	switch {
	case err != nil:
		return fmt.Errorf("NodePublishVolume: driver %s said that it has published the volume, and there is nothing at %s: the driver is broken", p.Driver, p.Target)
	case p.Block && (info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0):
		return fmt.Errorf("NodePublishVolume: driver %s said that it has published a block device, and %s is none: the driver is broken", p.Driver, p.Target)
	case !p.Block && p.Claim != "" && !mounts.IsPoint(p.Target):
		return fmt.Errorf("NodePublishVolume: driver %s said that it has published the volume, and nothing is mounted at %s: the driver is broken, or its container does not share its mounts "+
			"with the host (mountPropagation: Bidirectional)", p.Driver, p.Target)
	}
	return nil
}

// expand does the node's part of growing a volume.
func (n *Node) expand(ctx context.Context, d *driver, p plan, v Volume) error {
	if v.Claim == nil || expandTo(v) == 0 {
		return nil
	}
	if p.Expand > 0 {
		secrets, err := n.SecretOf(ctx, p.ExpandSecret)
		if err != nil {
			return err
		}
		request := &spec.NodeExpandVolumeRequest{VolumeId: p.Handle, VolumePath: p.Target, CapacityRange: &spec.CapacityRange{RequiredBytes: p.Expand}, VolumeCapability: p.Capability, Secrets: secrets}
		if p.Stage {
			request.StagingTargetPath = p.Staging
		}
		got, err := called(ctx, d, "NodeExpandVolume", d.node.NodeExpandVolume, request)
		if err == nil && got.CapacityBytes > 0 && got.CapacityBytes < p.Expand {
			err = fmt.Errorf("NodeExpandVolume: driver %s said that it is done, and that the volume has %d bytes of the %d that it was to have", d.name, got.CapacityBytes, p.Expand)
		}
		if err != nil {
			// The Pod can use it at the size that it has.
			n.Events.Eventf(v.Claim, v1.EventTypeWarning, "VolumeResizeFailed", "MountVolume.NodeExpandVolume failed for volume %q: %v", v.Persistent.Name, err)
			return nil
		}
	}
	return n.Grown(ctx, v.Claim, v.Persistent)
}

// SecretOf is what a driver, or the host, is to know beside the volume; a reference to none gives an empty map.
func (n *Node) SecretOf(ctx context.Context, ref *v1.SecretReference) (map[string]string, error) {
	out := map[string]string{}
	if ref == nil {
		return out, nil
	}
	s, err := n.Client.CoreV1().Secrets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("the volume's Secret %s/%s: %w", ref.Namespace, ref.Name, err)
	}
	for k, v := range s.Data {
		out[k] = string(v)
	}
	return out, nil
}

// tokensKey is what a driver finds tokens of the Pod's account under.
const tokensKey = "csi.storage.k8s.io/serviceAccount.tokens"

// tokens are those that the driver's CSIDriver asks for, by audience, as JSON; empty if it asks for none.
func (n *Node) tokens(ctx context.Context, pod *v1.Pod, asked []storagev1.TokenRequest) (string, error) {
	if len(asked) == 0 {
		return "", nil
	}
	type token struct {
		Token   string      `json:"token"`
		Expires metav1.Time `json:"expirationTimestamp"`
	}
	out := map[string]token{}
	for _, a := range asked {
		const hour = 60 * 60 // the field's default
		text, until, err := n.Token(ctx, pod, a.Audience, ptr.Deref(a.ExpirationSeconds, hour))
		if err != nil {
			return "", err
		}
		out[a.Audience] = token{text, metav1.NewTime(until)}
	}
	b, err := json.Marshal(out)
	return string(b), err
}

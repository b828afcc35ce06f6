package csi

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// Volume is one that a Pod wants.
type Volume struct {
	Pod  *v1.Pod
	Name string // in the Pod
	// Inline is the volume's definition in the Pod; nil for one of a claim.
	Inline *v1.CSIVolumeSource
	// Persistent and Claim are what it is bound to.
	Persistent *v1.PersistentVolume
	Claim      *v1.PersistentVolumeClaim
	ReadOnly   bool   // the Pod only reads it
	Label      string // of SELinux, that the Pod's files have; empty where the kernel enforces none
}

// driver names the volume's driver.
func (v Volume) driver() string {
	if v.Inline != nil {
		return v.Inline.Driver
	}
	return v.Persistent.Spec.CSI.Driver
}

// plan is how a volume is mounted: which calls its driver gets, with what.
type plan struct {
	record
	Attached  bool // it is to be attached first
	Stage     bool
	Expand    int64 // bytes that the driver is to make it as large as; 0 for no need
	Group     *int64
	PodInfo   map[string]string
	Tokens    []storagev1.TokenRequest
	InSecrets bool // the tokens are among the secrets

	Capability                               *spec.VolumeCapability
	Context                                  map[string]string
	StageSecret, PublishSecret, ExpandSecret *v1.SecretReference
	Target, Staging, StageDir, PublishDir    string
	ReadOnly                                 bool
}

// capabilities are what a driver said that it can do on a node.
type capabilities map[spec.NodeServiceCapability_RPC_Type]bool

// decide plans how a volume is mounted. what is the driver's CSIDriver, nil if it has none; can is what its program on this node can do.
func decide(v Volume, what *storagev1.CSIDriver, can capabilities, at paths) (plan, error) {
	var said storagev1.CSIDriverSpec
	if what != nil {
		said = what.Spec
	}
	uid := string(v.Pod.UID)
	p := plan{record: record{Driver: v.driver(), Pod: uid, InPod: v.Name, Republish: ptr.Deref(said.RequiresRepublish, false)}, ReadOnly: v.ReadOnly, Tokens: said.TokenRequests, InSecrets: ptr.Deref(said.ServiceAccountTokenInSecrets, false)}
	mount := &spec.VolumeCapability_MountVolume{}
	mode := spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	wants := storagev1.VolumeLifecyclePersistent
	if in := v.Inline; in != nil {
		wants = storagev1.VolumeLifecycleEphemeral
		p.Name, p.Handle = v.Name, fmt.Sprintf("csi-%x", sha256.Sum256([]byte(uid+v.Name)))
		mount.FsType, p.Context = ptr.Deref(in.FSType, ""), maps.Clone(in.VolumeAttributes)
		p.ReadOnly = p.ReadOnly || ptr.Deref(in.ReadOnly, false)
		if in.NodePublishSecretRef != nil {
			p.PublishSecret = &v1.SecretReference{Namespace: v.Pod.Namespace, Name: in.NodePublishSecretRef.Name}
		}
	} else {
		s := v.Persistent.Spec.CSI
		p.Name, p.Handle = v.Persistent.Name, s.VolumeHandle
		p.Block = ptr.Deref(v.Persistent.Spec.VolumeMode, v1.PersistentVolumeFilesystem) == v1.PersistentVolumeBlock
		mount.FsType, mount.MountFlags, p.Context = s.FSType, slices.Clone(v.Persistent.Spec.MountOptions), maps.Clone(s.VolumeAttributes)
		mode = accessMode(v.Persistent.Spec.AccessModes, can)
		p.Stage = can[spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME]
		if hold := pv.HoldOf(v.Persistent, what); hold != pv.Free {
			p.Held, p.Attached = pv.UniqueName(v.Persistent), hold == pv.Attached
		}
		p.StageSecret, p.PublishSecret, p.ExpandSecret = s.NodeStageSecretRef, s.NodePublishSecretRef, s.NodeExpandSecretRef
		if can[spec.NodeServiceCapability_RPC_EXPAND_VOLUME] {
			p.Expand = expandTo(v)
		}
		p.ReadOnly = p.ReadOnly || s.ReadOnly
		p.Claim = v.Claim.Name
		p.StageDir, p.Staging = at.stage(p.record)
	}
	modes := said.VolumeLifecycleModes
	if len(modes) == 0 {
		modes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent} // the field's own default
	}
	if !slices.Contains(modes, wants) {
		return plan{}, fmt.Errorf("driver %s does not have volumes of the kind %s: its CSIDriver says %v (spec.volumeLifecycleModes)", p.Driver, wants, modes)
	}
	if ptr.Deref(said.SELinuxMount, false) && v.Label != "" && slices.Contains(modesOf(v), v1.ReadWriteOncePod) {
		mount.MountFlags = append(mount.MountFlags, fmt.Sprintf("context=%q", v.Label)) // mount(8); of more Pods than one each may have a label of its own
	}
	p.group(v, said.FSGroupPolicy, mount, can)
	p.Capability = &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: mode}, AccessType: &spec.VolumeCapability_Mount{Mount: mount}}
	if p.Block {
		p.Capability.AccessType = &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}
	}
	if ptr.Deref(said.PodInfoOnMount, false) {
		p.PodInfo = map[string]string{
			"csi.storage.k8s.io/pod.name": v.Pod.Name, "csi.storage.k8s.io/pod.namespace": v.Pod.Namespace, "csi.storage.k8s.io/pod.uid": uid,
			"csi.storage.k8s.io/serviceAccount.name": v.Pod.Spec.ServiceAccountName, "csi.storage.k8s.io/ephemeral": strconv.FormatBool(v.Inline != nil),
		}
	}
	p.PublishDir = at.volume(uid, p.Name)
	p.Target = at.target(uid, p.Name, p.Block)
	return p, nil
}

// modesOf are the volume's access modes; an inline volume has none.
func modesOf(v Volume) []v1.PersistentVolumeAccessMode {
	if v.Persistent == nil {
		return nil
	}
	return v.Persistent.Spec.AccessModes
}

// accessMode is the interface's name of the first of a volume's modes.
func accessMode(modes []v1.PersistentVolumeAccessMode, can capabilities) spec.VolumeCapability_AccessMode_Mode {
	if len(modes) == 0 {
		return spec.VolumeCapability_AccessMode_UNKNOWN
	}
	finer := can[spec.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER]
	switch first := modes[0]; {
	case first == v1.ReadOnlyMany:
		return spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	case first == v1.ReadWriteMany:
		return spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	case finer && first == v1.ReadWriteOncePod:
		return spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	case finer:
		return spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	}
	return spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
}

// group decides who gives the volume's files to the Pod's fsGroup: the driver, this node, or nobody.
func (p *plan) group(v Volume, policy *storagev1.FSGroupPolicy, mount *spec.VolumeCapability_MountVolume, can capabilities) {
	if v.Pod.Spec.SecurityContext == nil || v.Pod.Spec.SecurityContext.FSGroup == nil || p.Block {
		return
	}
	gid := v.Pod.Spec.SecurityContext.FSGroup
	if can[spec.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP] {
		mount.VolumeMountGroup = strconv.FormatInt(*gid, 10)
		return
	}
	switch ptr.Deref(policy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy) {
	case storagev1.NoneFSGroupPolicy:
		return
	case storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy:
		once := v.Inline != nil || slices.ContainsFunc(modesOf(v), func(m v1.PersistentVolumeAccessMode) bool { return m == v1.ReadWriteOnce || m == v1.ReadWriteOncePod })
		if mount.FsType == "" || !once {
			return
		}
	}
	if !p.ReadOnly {
		p.Group = gid
	}
}

// expandTo is the size that the node's part of growing a volume has yet to reach; 0 if there is none.
func expandTo(v Volume) int64 {
	if v.ReadOnly || v.Claim == nil {
		return 0
	}
	size := v.Persistent.Spec.Capacity.Storage()
	if v.Claim.Status.Capacity == nil || v.Claim.Status.Capacity.Storage().Cmp(*size) >= 0 {
		return 0
	}
	return size.Value()
}

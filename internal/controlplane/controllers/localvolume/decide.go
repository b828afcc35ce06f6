package localvolume

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// Reasons of Events, as other provisioners have them.
const (
	reasonSucceeded     = "ProvisioningSucceeded"
	reasonKept          = "WaitForPersistentVolume"
	reasonSettling      = "WaitForNodes"
	reasonFailed        = "ProvisioningFailed"
	reasonResizing      = "Resizing"
	reasonResizePending = "FileSystemResizeRequired"
	reasonResizeFailed  = "VolumeResizeFailed"
	reasonDataLeft      = "VolumeDataLeft"
	reasonFilling       = "Provisioning"
)

// Event is what users are told, at the object that was looked at.
type Event struct{ Type, Reason, Message string }

// ClaimActions are what is to be done for a claim. Nil means nothing.
type ClaimActions struct {
	Create *corev1.PersistentVolume
	Grow   *corev1.PersistentVolume
	Claim  *corev1.PersistentVolumeClaim // its metadata
	Status *corev1.PersistentVolumeClaim
	Event  *Event
}

// ObservedClaim is what a decision about a claim rests on.
type ObservedClaim struct {
	Claim  *corev1.PersistentVolumeClaim
	Class  *storagev1.StorageClass  // the claim's; nil when there is none
	Volume *corev1.PersistentVolume // the one made for it; nil when there is none
	Node   *corev1.Node             // that the scheduler has chosen, or that the volume is on; nil when there is none
	Taken  int64                    // bytes of all volumes on Node
	Origin Origin                   // what the claim is to begin with
	Kept   string                   // a volume that is kept for a claim of this name
	// Settling says that nodes may not have said yet which volumes they have.
	Settling bool
}

// keptFor says whether a volume of this provisioner is kept for a claim, which it is not bound to yet: a node has brought it back.
func keptFor(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	ref := v.Spec.ClaimRef
	return ref != nil && ref.UID == "" && ref.Namespace == claim.Namespace && ref.Name == claim.Name && pv.IsLocal(v) && v.DeletionTimestamp == nil
}

// DecideClaim looks at one claim.
func DecideClaim(o ObservedClaim) ClaimActions {
	claim := o.Claim
	switch {
	case claim.DeletionTimestamp != nil:
		return ClaimActions{}
	case metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted):
		return o.grow()
	case o.Class == nil || o.Class.Provisioner != pv.Provisioner || claim.Spec.VolumeName != "" || o.Volume != nil:
		return ClaimActions{}
	}
	if o.Origin.Asked {
		// Before the scheduler has chosen a node: it is to know where the data is.
		if a, ok := o.origin(); !ok {
			return a
		}
	}
	if claim.Annotations[volume.AnnStorageProvisioner] != pv.Provisioner {
		return ClaimActions{}
	}
	node := claim.Annotations[volume.AnnSelectedNode]
	switch {
	case node == "" && ptr.Deref(o.Class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingImmediate:
		return failed(fmt.Sprintf("StorageClass %s: a volume of %s is made on the node of the first Pod that uses it: set volumeBindingMode: WaitForFirstConsumer (create the class anew)", o.Class.Name, pv.Provisioner))
	case node == "":
		return ClaimActions{}
	case o.Node == nil:
		return o.elsewhere(fmt.Sprintf("node %s, which was chosen, does not exist any more", node))
	}
	if o.Origin.Asked && node != o.Origin.Node {
		return o.elsewhere(fmt.Sprintf("%s is on node %s, and node %s was chosen", o.Origin.From, o.Origin.Node, node))
	}
	if o.Kept != "" {
		return ClaimActions{Event: &Event{corev1.EventTypeNormal, reasonKept, fmt.Sprintf("PersistentVolume %s is kept for this claim: no other is made", o.Kept)}}
	}
	if o.Settling {
		return ClaimActions{Event: &Event{corev1.EventTypeNormal, reasonSettling,
			"the control plane has lost its state or was restored to an earlier one: before volumes are made, nodes have a minute to say what is on their disks"}}
	}
	v, err := pv.ForClaim(claim, o.Class, o.Node, o.Origin.From)
	if err != nil {
		return failed(err.Error())
	}
	if free := o.free(); claim.Spec.Resources.Requests.Storage().Value() > free {
		return o.elsewhere(fmt.Sprintf("node %s has room for a volume of %s, the claim asks for %s", node, bytes(free), claim.Spec.Resources.Requests.Storage()))
	}
	if o.Origin.Asked {
		return ClaimActions{Create: v, Event: &Event{corev1.EventTypeNormal, reasonFilling, fmt.Sprintf("Volume %s is filled from %s on node %s", v.Name, o.Origin.From, node)}}
	}
	return ClaimActions{Create: v, Event: &Event{corev1.EventTypeNormal, reasonSucceeded, fmt.Sprintf("Successfully provisioned volume %s on node %s", v.Name, node)}}
}

func (o ObservedClaim) free() int64 {
	room, _ := pv.RoomOf(o.Node)
	return max(0, room.Bytes-o.Taken)
}

func bytes(n int64) string { return resource.NewQuantity(n, resource.BinarySI).String() }

func failed(why string) ClaimActions {
	return ClaimActions{Event: &Event{corev1.EventTypeWarning, reasonFailed, why}}
}

// elsewhere has the scheduler choose again.
func (o ObservedClaim) elsewhere(why string) ClaimActions {
	a := failed(why)
	a.Claim = o.Claim.DeepCopy()
	delete(a.Claim.Annotations, volume.AnnSelectedNode)
	return a
}

// grow makes a bound claim's volume as large as the claim asks for: here on paper, on its node in fact.
func (o ObservedClaim) grow() ClaimActions {
	claim, v := o.Claim, o.Volume
	if v == nil || !pv.IsLocal(v) || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != claim.UID {
		return ClaimActions{}
	}
	want, has := claim.Spec.Resources.Requests.Storage(), v.Spec.Capacity.Storage()
	if want.Cmp(*has) > 0 {
		if o.Node == nil {
			return ClaimActions{Event: &Event{corev1.EventTypeWarning, reasonResizeFailed, fmt.Sprintf("node %s, which has the volume, does not exist", v.Labels[pv.NodeLabel])}}
		}
		if more := want.Value() - has.Value(); more > o.free() {
			return ClaimActions{Event: &Event{corev1.EventTypeWarning, reasonResizeFailed, fmt.Sprintf("node %s has room for %s more, growing from %s to %s takes %s", o.Node.Name, bytes(o.free()), has, want, bytes(more))}}
		}
		next := v.DeepCopy()
		next.Spec.Capacity[corev1.ResourceStorage] = want.DeepCopy()
		return ClaimActions{Grow: next, Event: &Event{corev1.EventTypeNormal, reasonResizing, fmt.Sprintf("volume %s grows from %s to %s", v.Name, has, want)}}
	}
	// Who binds a pair writes the claim's status last: a size that is not said yet is not one that is behind.
	if claim.Status.Phase != corev1.ClaimBound || claim.Status.Capacity.Storage().Cmp(*has) >= 0 || slices.ContainsFunc(claim.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimFileSystemResizePending
	}) {
		return ClaimActions{}
	}
	next := claim.DeepCopy()
	next.Status.Conditions = append(next.Status.Conditions, corev1.PersistentVolumeClaimCondition{
		Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Message: "Waiting for the node to grow the file system, which it does while a Pod uses the volume.",
	})
	return ClaimActions{Status: next, Event: &Event{corev1.EventTypeNormal, reasonResizePending, "Require file system resize of volume on node"}}
}

// VolumeAction is what is to be done with a volume.
type VolumeAction struct {
	Delete bool
	// Release says that the node has dealt with the data.
	Release bool
	// Abandon says that nobody will ever deal with the data, as the node is gone for good; to be confirmed that it is.
	Abandon bool
}

// DecideVolume looks at one volume; node is the one that it is on, or nil. read says that another volume is being filled from it.
func DecideVolume(v *corev1.PersistentVolume, node *corev1.Node, read bool) VolumeAction {
	switch {
	case !pv.IsLocal(v):
		return VolumeAction{}
	case v.DeletionTimestamp != nil && !slices.Contains(v.Finalizers, pv.DataFinalizer):
		return VolumeAction{}
	case v.DeletionTimestamp != nil && v.Annotations[pv.AnnDone] != "":
		return VolumeAction{Release: true}
	case v.DeletionTimestamp != nil:
		return VolumeAction{Abandon: node == nil}
	}
	return VolumeAction{Delete: !read && v.Status.Phase == corev1.VolumeReleased && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete}
}

// Capacity is what the scheduler is told of a node and a class: the largest volume that can be made. Small changes are not worth a write: there is a second look at the
// room when a volume is made. It is nil if what is there is right, or nothing is known.
func Capacity(node *corev1.Node, class *storagev1.StorageClass, taken int64, have *storagev1.CSIStorageCapacity) *storagev1.CSIStorageCapacity {
	room, ok := pv.RoomOf(node)
	if !ok {
		return nil
	}
	const share = 100 // of the room: 1 %
	free := max(0, room.Bytes-taken)
	if have != nil && have.Capacity != nil {
		if had := have.Capacity.Value(); (had == 0) == (free == 0) && max(had-free, free-had) <= room.Bytes/share {
			return nil
		}
	}
	c := &storagev1.CSIStorageCapacity{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceSystem, Name: capacityName(node.Name, class.Name),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}, {APIVersion: "storage.k8s.io/v1", Kind: "StorageClass", Name: class.Name, UID: class.UID}},
		},
		NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelHostname: node.Labels[corev1.LabelHostname]}},
		StorageClassName: class.Name,
	}
	if have != nil {
		c.ObjectMeta = *have.ObjectMeta.DeepCopy()
	}
	c.Capacity = resource.NewQuantity(free, resource.BinarySI)
	return c
}

func capacityName(node, class string) string { return class + "." + node }

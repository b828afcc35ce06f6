package pv

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// Provisioner is the name of the built-in one, in storage classes: it makes volumes on the disk of the node that the scheduler has chosen.
const Provisioner = "gitopsd.io/local"

// LocalClass is the StorageClass that every cluster has.
const LocalClass = "local"

// NodeLabel names the node whose disk a volume is on. A node sees the volumes with its own name, and no others.
const NodeLabel = "gitopsd.io/node"

// DataFinalizer keeps a volume which is being deleted until its node has dealt with the data.
const DataFinalizer = "gitopsd.io/volume-data"

// AnnMade says since when a volume's data has been there. A directory that is missing afterwards was lost, and is not made again.
const AnnMade = "gitopsd.io/volume-made"

// AnnDone is what a node says of a volume that is being deleted once it has dealt with the data; its value is "removed" or "kept".
const AnnDone = "gitopsd.io/volume-data-done"

// AnnRoom is where a Node says what volumes it can make, as a Room.
const AnnRoom = "gitopsd.io/local-volumes"

// ParameterBound is the parameter of a class of the built-in provisioner that says what bounds its volumes: BoundByImage, also where it is left out, or BoundByQuota.
const ParameterBound = "boundBy"

// What bounds a volume.
const (
	BoundByImage = "image"        // the size of a file system in a file
	BoundByQuota = "projectQuota" // a quota of the disk's own file system where that has it, an image elsewhere
)

// AnnBound says of a volume what its class asked for.
const AnnBound = "gitopsd.io/volume-bound-by"

// DataDir is the directory of a volume's own that holds its files; beside it is what the node keeps for itself.
const DataDir = "data"

// Room is what volumes a node can make.
type Room struct {
	Path  string `json:"path"`  // directory that volumes are below of
	Bytes int64  `json:"bytes"` // that all volumes together may have, those there are included
}

// RoomOf reads what a Node says; false if it says nothing.
func RoomOf(n *corev1.Node) (Room, bool) {
	var r Room
	err := json.Unmarshal([]byte(n.Annotations[AnnRoom]), &r)
	return r, err == nil && filepath.IsAbs(r.Path)
}

// IsLocal says whether a volume is one of the built-in provisioner's, on a node's disk.
func IsLocal(v *corev1.PersistentVolume) bool {
	return v.Annotations[volume.AnnDynamicallyProvisioned] == Provisioner && v.Spec.Local != nil && v.Labels[NodeLabel] != ""
}

// Class is the StorageClass that every cluster has.
func Class(isDefault bool) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: LocalClass, Annotations: map[string]string{AnnDefaultClass: fmt.Sprint(isDefault)}},
		Provisioner: Provisioner, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer), AllowVolumeExpansion: ptr.To(true),
	}
}

// Refusal is why no volume can be made for a claim; its text is for the claim's owner.
type Refusal struct{ Why string }

func (r *Refusal) Error() string { return r.Why }

// ForClaim is the volume to be made for a claim on a node: DIR/NAMESPACE/CLAIM-UID there. from is what it begins with, nil for nothing.
func ForClaim(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node *corev1.Node, from *Source) (*corev1.PersistentVolume, error) {
	room, ok := RoomOf(node)
	host := node.Labels[corev1.LabelHostname]
	bound := cmp.Or(class.Parameters[ParameterBound], BoundByImage)
	switch shared := slices.ContainsFunc(claim.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool {
		return m == corev1.ReadWriteMany || m == corev1.ReadOnlyMany
	}); {
	case shared:
		return nil, &Refusal{fmt.Sprintf("volumes of class %s are on the disk of one node: accessModes may be ReadWriteOnce or ReadWriteOncePod; for more, use a class of a network storage", class.Name)}
	case claim.Spec.Selector != nil:
		return nil, &Refusal{"a claim with a selector gets a volume that is there, none is made for it"}
	case bound != BoundByImage && bound != BoundByQuota:
		return nil, &Refusal{fmt.Sprintf("StorageClass %s: parameters.%s is %q: it may be %q or %q", class.Name, ParameterBound, bound, BoundByImage, BoundByQuota)}
	case !ok:
		return nil, &Refusal{fmt.Sprintf("node %s has not said where it keeps volumes (its annotation %s); its daemon may be of an older release", node.Name, AnnRoom)}
	case host == "":
		return nil, &Refusal{fmt.Sprintf("node %s lacks the label %s", node.Name, corev1.LabelHostname)}
	}
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: "pvc-" + string(claim.UID), Labels: map[string]string{NodeLabel: node.Name}, Finalizers: []string{DataFinalizer},
			Annotations: map[string]string{volume.AnnDynamicallyProvisioned: Provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests.Storage().DeepCopy()},
			AccessModes: claim.Spec.AccessModes, VolumeMode: claim.Spec.VolumeMode, StorageClassName: class.Name, MountOptions: class.MountOptions,
			PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete),
			ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{
				Path: filepath.Join(room.Path, claim.Namespace, claim.Name+"-"+string(claim.UID), DataDir),
			}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}},
			}}}},
		},
	}
	if bound == BoundByQuota && from == nil { // what begins with an image is one
		v.Annotations[AnnBound] = bound
	}
	if from != nil {
		text, err := json.Marshal(from)
		if err != nil {
			return nil, err
		}
		v.Annotations[AnnSource] = string(text)
	}
	return v, nil
}

// Readopted is a volume, found on a node's disk, for a cluster that does not know it: for a claim of the name that it was made for, whoever makes that.
func Readopted(found *corev1.PersistentVolume) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: found.Name, Labels: found.Labels, Annotations: found.Annotations, Finalizers: []string{DataFinalizer}},
		Spec:       *found.Spec.DeepCopy(),
	}
	if ref := v.Spec.ClaimRef; ref != nil {
		v.Spec.ClaimRef = &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: ref.Namespace, Name: ref.Name}
	}
	delete(v.Annotations, volume.AnnBoundByController)
	delete(v.Annotations, AnnDone)
	return v
}

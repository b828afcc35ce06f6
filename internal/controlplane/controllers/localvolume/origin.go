package localvolume

import (
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// Origin is what a claim is to begin with.
type Origin struct {
	Asked bool
	// Wait is what it waits for, and Wrong why it will not get that; empty once it is known where the data is.
	Wait, Wrong string
	From        *pv.Source
	Node        string // that has it
	Size        resource.Quantity
	Mode        corev1.PersistentVolumeMode
}

// known are the objects that a claim can begin with. Those that do not exist are nil.
type known interface {
	claim(namespace, name string) *corev1.PersistentVolumeClaim
	volume(name string) *corev1.PersistentVolume
	snapshot(namespace, name string) *snapshotv1.VolumeSnapshot
	content(name string) *snapshotv1.VolumeSnapshotContent
}

// originOf finds what a claim is to begin with.
func originOf(claim *corev1.PersistentVolumeClaim, k known) Origin {
	group, kind, name, namespace := "", "", "", claim.Namespace
	switch ref, old := claim.Spec.DataSourceRef, claim.Spec.DataSource; {
	case ref != nil:
		group, kind, name, namespace = ptr.Deref(ref.APIGroup, ""), ref.Kind, ref.Name, ptr.Deref(ref.Namespace, claim.Namespace)
	case old != nil:
		group, kind, name = ptr.Deref(old.APIGroup, ""), old.Kind, old.Name
	default:
		return Origin{}
	}
	o := Origin{Asked: true}
	switch {
	case namespace != claim.Namespace:
		o.Wrong = fmt.Sprintf("its dataSourceRef is in namespace %s: volumes of %s begin with what is in the claim's own", namespace, pv.Provisioner)
	case group == "" && kind == "PersistentVolumeClaim":
		o.fromClaim(name, k.claim(namespace, name), k)
	case group == snapshotv1.GroupName && kind == "VolumeSnapshot":
		o.fromSnapshot(name, k.snapshot(namespace, name), k)
	default:
		o.Wrong = fmt.Sprintf("its dataSource is a %s of group %q: volumes of %s begin empty, with a VolumeSnapshot or with another PersistentVolumeClaim", kind, group, pv.Provisioner)
	}
	return o
}

func (o *Origin) fromClaim(name string, source *corev1.PersistentVolumeClaim, k known) {
	switch {
	case source == nil || source.DeletionTimestamp != nil:
		o.Wait = fmt.Sprintf("its dataSource, PersistentVolumeClaim %s, does not exist", name)
		return
	case source.Spec.VolumeName == "" || source.Status.Phase != corev1.ClaimBound:
		o.Wait = fmt.Sprintf("its dataSource, PersistentVolumeClaim %s, has no volume yet", name)
		return
	}
	switch v := k.volume(source.Spec.VolumeName); {
	case v == nil:
		o.Wait = fmt.Sprintf("its dataSource, PersistentVolumeClaim %s, has lost its volume", name)
	case !pv.IsLocal(v):
		o.Wrong = fmt.Sprintf("its dataSource, PersistentVolumeClaim %s, has a volume that %s did not make: clone it by its own class", name, pv.Provisioner)
	case v.Annotations[pv.AnnMade] == "":
		o.Wait = fmt.Sprintf("its dataSource, PersistentVolumeClaim %s, has not been used by any Pod yet, so that there is nothing to clone", name)
	default:
		o.From, o.Node, o.Size, o.Mode = &pv.Source{Volume: v.Name}, v.Labels[pv.NodeLabel], *v.Spec.Capacity.Storage(), modeOf(v.Spec.VolumeMode)
	}
}

func (o *Origin) fromSnapshot(name string, s *snapshotv1.VolumeSnapshot, k known) {
	switch {
	case s == nil || s.DeletionTimestamp != nil:
		o.Wait = fmt.Sprintf("its dataSource, VolumeSnapshot %s, does not exist", name)
		return
	case s.Status == nil || !ptr.Deref(s.Status.ReadyToUse, false) || s.Status.BoundVolumeSnapshotContentName == nil || s.Status.RestoreSize == nil:
		o.Wait = fmt.Sprintf("its dataSource, VolumeSnapshot %s, is not ready to use", name)
		return
	}
	switch c := k.content(*s.Status.BoundVolumeSnapshotContentName); {
	case c == nil || c.DeletionTimestamp != nil || c.Spec.VolumeSnapshotRef.UID != s.UID:
		o.Wait = fmt.Sprintf("its dataSource, VolumeSnapshot %s, has lost its content", name)
	case !pv.IsLocalSnapshot(c):
		o.Wrong = fmt.Sprintf("its dataSource, VolumeSnapshot %s, is one of the driver %s: restore it by a class of that", name, c.Spec.Driver)
	default:
		o.From, o.Node, o.Size, o.Mode = &pv.Source{Snapshot: pv.SnapshotHandle(c)}, c.Labels[pv.NodeLabel], *s.Status.RestoreSize, modeOf(c.Spec.SourceVolumeMode)
	}
}

func modeOf(m *corev1.PersistentVolumeMode) corev1.PersistentVolumeMode {
	return ptr.Deref(m, corev1.PersistentVolumeFilesystem)
}

// origin tells the scheduler where the data is that a claim is to begin with. It is false, with what is to be done, until that is told.
func (o ObservedClaim) origin() (ClaimActions, bool) {
	claim, from := o.Claim, o.Origin
	ask := claim.Spec.Resources.Requests.Storage()
	switch {
	case from.Wrong != "":
		return failed(from.Wrong), false
	case from.Wait != "":
		return failed(from.Wait), false
	case ask.Cmp(from.Size) < 0:
		return failed(fmt.Sprintf("it asks for %s, and %s has %s: ask for as much", ask, from.From, &from.Size)), false
	case modeOf(claim.Spec.VolumeMode) != from.Mode:
		return failed(fmt.Sprintf("its volumeMode is %s, and that of %s is %s", modeOf(claim.Spec.VolumeMode), from.From, from.Mode)), false
	case claim.Annotations[pv.AnnSourceNode] != from.Node:
		next := claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, pv.AnnSourceNode, from.Node)
		return ClaimActions{Claim: next}, false
	}
	return ClaimActions{}, true
}

package volumesnapshot

import (
	"fmt"
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// Finalizer keeps a VolumeSnapshot until its content is gone. It is the one that the CSI project's controller sets.
const Finalizer = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"

// Reasons of Events, as the CSI project's controller has them.
const (
	reasonCreating = "CreatingSnapshot"
	reasonReady    = "SnapshotReady"
	reasonPending  = "SnapshotContentMissing"
	reasonFailed   = "SnapshotCreationFailed"
	reasonLeft     = "SnapshotDataLeft"
)

// Event is what users are told, at the snapshot.
type Event struct{ Type, Reason, Message string }

// Observed is what a decision about a snapshot rests on. What there is none of is nil.
type Observed struct {
	Snapshot *snapshotv1.VolumeSnapshot
	Content  *snapshotv1.VolumeSnapshotContent // that it is bound to, that it names, that it would have, or that a node offers for it
	Class    *snapshotv1.VolumeSnapshotClass   // that it names, or the default one of the built-in driver
	Claim    *corev1.PersistentVolumeClaim     // of which it is taken
	Volume   *corev1.PersistentVolume          // of the claim
	// Readers are volumes that are being filled from it.
	Readers []string
	Now     time.Time
}

// Actions are what is to be done for a snapshot, in the order of the fields. Nil means nothing.
type Actions struct {
	Snapshot *snapshotv1.VolumeSnapshot // its metadata and spec
	Create   *snapshotv1.VolumeSnapshotContent
	Bind     *snapshotv1.VolumeSnapshotContent // its reference to the snapshot
	Delete   *snapshotv1.VolumeSnapshotContent
	Status   *snapshotv1.VolumeSnapshot
	Event    *Event
}

// Decide looks at one snapshot.
func Decide(o Observed) Actions {
	s := o.Snapshot
	if !o.ours() {
		return Actions{}
	}
	if s.DeletionTimestamp != nil {
		return o.end()
	}
	if !slices.Contains(s.Finalizers, Finalizer) {
		next := s.DeepCopy()
		next.Finalizers = append(next.Finalizers, Finalizer)
		if next.Spec.VolumeSnapshotClassName == nil && o.Class != nil {
			next.Spec.VolumeSnapshotClassName = &o.Class.Name
		}
		return Actions{Snapshot: next}
	}
	if o.Content == nil {
		return o.begin()
	}
	ref := o.Content.Spec.VolumeSnapshotRef
	switch {
	case ref.Namespace != s.Namespace || ref.Name != s.Name || ref.UID != "" && ref.UID != s.UID:
		return o.failed(fmt.Sprintf("VolumeSnapshotContent %s is of VolumeSnapshot %s/%s (UID %s), not of this one", o.Content.Name, ref.Namespace, ref.Name, ref.UID))
	case ref.UID == "":
		next := o.Content.DeepCopy()
		next.Spec.VolumeSnapshotRef.UID = s.UID
		return Actions{Bind: next}
	}
	return o.report()
}

// ours says whether a snapshot is of the built-in class.
func (o Observed) ours() bool {
	if o.Content != nil {
		return pv.IsLocalSnapshot(o.Content)
	}
	if o.Volume != nil {
		return pv.IsLocal(o.Volume)
	}
	return o.Snapshot.Spec.VolumeSnapshotClassName != nil && o.Class != nil && o.Class.Driver == pv.Provisioner
}

// begin has the node of the volume take a snapshot.
func (o Observed) begin() Actions {
	s := o.Snapshot
	class := ptr.Deref(s.Spec.VolumeSnapshotClassName, "")
	switch name := ptr.Deref(s.Spec.Source.PersistentVolumeClaimName, ""); {
	case s.Status != nil && s.Status.BoundVolumeSnapshotContentName != nil:
		return o.failed(fmt.Sprintf("its VolumeSnapshotContent %s is gone, and what it held with it", *s.Status.BoundVolumeSnapshotContentName))
	case name == "":
		return o.pending(fmt.Sprintf("VolumeSnapshotContent %s does not exist", ptr.Deref(s.Spec.Source.VolumeSnapshotContentName, "")))
	case o.Claim == nil:
		return o.pending(fmt.Sprintf("PersistentVolumeClaim %s/%s does not exist", s.Namespace, name))
	case o.Claim.DeletionTimestamp != nil:
		return o.failed(fmt.Sprintf("PersistentVolumeClaim %s/%s is being deleted", s.Namespace, name))
	case o.Volume == nil:
		return o.pending(fmt.Sprintf("PersistentVolumeClaim %s/%s has no volume yet", s.Namespace, name))
	case o.Class == nil && class == "":
		return o.failed(fmt.Sprintf("no VolumeSnapshotClass of the driver %s is the default one (annotation %s): name one in spec.volumeSnapshotClassName", pv.Provisioner, pv.AnnDefaultSnapshotClass))
	case o.Class == nil:
		return o.failed(fmt.Sprintf("VolumeSnapshotClass %s does not exist", class))
	case o.Class.Driver != pv.Provisioner:
		return o.failed(fmt.Sprintf("VolumeSnapshotClass %s is of the driver %s, the volume of claim %s is of %s", o.Class.Name, o.Class.Driver, name, pv.Provisioner))
	}
	return Actions{
		Create: pv.SnapshotContent(s, o.Class, o.Volume),
		Event:  &Event{corev1.EventTypeNormal, reasonCreating, fmt.Sprintf("Waiting for node %s to take a snapshot of claim %s/%s", o.Volume.Labels[pv.NodeLabel], s.Namespace, o.Claim.Name)},
	}
}

// report has the snapshot say what its content does.
func (o Observed) report() Actions {
	c := o.Content.Status
	if c == nil {
		c = &snapshotv1.VolumeSnapshotContentStatus{}
	}
	next := o.Snapshot.DeepCopy()
	next.Status = &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: &o.Content.Name, ReadyToUse: ptr.To(ptr.Deref(c.ReadyToUse, false)), Error: c.Error}
	if c.CreationTime != nil {
		next.Status.CreationTime = ptr.To(metav1.NewTime(time.Unix(0, *c.CreationTime).Truncate(time.Second)))
	}
	if c.RestoreSize != nil {
		next.Status.RestoreSize = resource.NewQuantity(*c.RestoreSize, resource.BinarySI)
	}
	if equality.Semantic.DeepEqual(next.Status, o.Snapshot.Status) {
		return Actions{}
	}
	a := Actions{Status: next}
	switch was := o.Snapshot.Status; {
	case *next.Status.ReadyToUse && (was == nil || !ptr.Deref(was.ReadyToUse, false)):
		a.Event = &Event{corev1.EventTypeNormal, reasonReady, fmt.Sprintf("Snapshot %s/%s is ready to use", next.Namespace, next.Name)}
	case c.Error != nil && (was == nil || was.Error == nil || ptr.Deref(was.Error.Message, "") != ptr.Deref(c.Error.Message, "")):
		a.Event = &Event{corev1.EventTypeWarning, reasonFailed, ptr.Deref(c.Error.Message, "")}
	}
	return a
}

// end lets a snapshot go that is being deleted: with its content, unless that is kept or read from.
func (o Observed) end() Actions {
	s, c := o.Snapshot, o.Content
	if !slices.Contains(s.Finalizers, Finalizer) {
		return Actions{}
	}
	switch mine := c != nil && c.Spec.VolumeSnapshotRef.UID == s.UID; {
	case mine && len(o.Readers) > 0:
		return Actions{Event: &Event{corev1.EventTypeNormal, reasonPending, fmt.Sprintf("it goes once volume %s is filled from it", o.Readers[0])}}
	case mine && c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete && c.DeletionTimestamp == nil:
		return Actions{Delete: c}
	case mine && c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete:
		return Actions{}
	}
	next := s.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == Finalizer })
	return Actions{Snapshot: next}
}

func (o Observed) pending(why string) Actions {
	return o.say(corev1.EventTypeNormal, reasonPending, why)
}

func (o Observed) failed(why string) Actions {
	return o.say(corev1.EventTypeWarning, reasonFailed, why)
}

// say notes in the snapshot's status why it is not ready.
func (o Observed) say(kind, reason, why string) Actions {
	if was := o.Snapshot.Status; was != nil && was.Error != nil && ptr.Deref(was.Error.Message, "") == why && !ptr.Deref(was.ReadyToUse, false) {
		return Actions{}
	}
	next := o.Snapshot.DeepCopy()
	if next.Status == nil {
		next.Status = &snapshotv1.VolumeSnapshotStatus{}
	}
	next.Status.ReadyToUse = ptr.To(false)
	next.Status.Error = &snapshotv1.VolumeSnapshotError{Time: ptr.To(metav1.NewTime(o.Now)), Message: &why}
	return Actions{Status: next, Event: &Event{kind, reason, why}}
}

// ContentAction is what is to be done with a content.
type ContentAction struct {
	// Abandon says that nobody will ever deal with the data, as the node is gone for good; to be confirmed that it is.
	Abandon bool
	// Offer says that there is to be a VolumeSnapshot for what a node has offered.
	Offer *snapshotv1.VolumeSnapshot
}

// DecideContent looks at one content; snapshot is that of the name in its reference, node the one that it is on; either may be nil.
func DecideContent(c *snapshotv1.VolumeSnapshotContent, snapshot *snapshotv1.VolumeSnapshot, node *corev1.Node) ContentAction {
	switch ref := c.Spec.VolumeSnapshotRef; {
	case !pv.IsLocalSnapshot(c):
	case c.DeletionTimestamp != nil:
		return ContentAction{Abandon: node == nil && slices.Contains(c.Finalizers, pv.SnapshotFinalizer)}
	case ref.UID == "" && snapshot == nil && c.Spec.Source.SnapshotHandle != nil:
		return ContentAction{Offer: &snapshotv1.VolumeSnapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name},
			Spec: snapshotv1.VolumeSnapshotSpec{
				Source: snapshotv1.VolumeSnapshotSource{VolumeSnapshotContentName: &c.Name}, VolumeSnapshotClassName: c.Spec.VolumeSnapshotClassName,
			},
		}}
	}
	return ContentAction{}
}

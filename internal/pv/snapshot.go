package pv

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SnapshotFinalizer keeps a VolumeSnapshotContent which is being deleted until its node has dealt with the data.
const SnapshotFinalizer = "gitopsd.io/snapshot-data"

// projectsFinalizer is what the CSI project's snapshot-controller, where that runs too, puts on every content. A driver's own part takes it off again, which the node is for its snapshots.
const projectsFinalizer = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"

// WithoutData are the finalizers of a content whose data has been dealt with.
func WithoutData(finalizers []string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == SnapshotFinalizer || f == projectsFinalizer })
}

// AnnDefaultSnapshotClass makes a VolumeSnapshotClass the default one of its driver, as the CSI project's own controller knows it.
const AnnDefaultSnapshotClass = "snapshot.storage.kubernetes.io/is-default-class"

// AnnSourceNode is where a claim that is to begin with other data says which node has that: the scheduler looks at no other.
const AnnSourceNode = "gitopsd.io/source-node"

// AnnSource is what a volume begins with, as a Source. Until AnnMade it is no claim's: half of the data may be there.
const AnnSource = "gitopsd.io/source"

// Source is what a volume begins with: one of the two.
type Source struct {
	Volume   string `json:"volume,omitempty"`   // name of a PersistentVolume on the same node
	Snapshot string `json:"snapshot,omitempty"` // handle of a snapshot there
}

func (s Source) String() string {
	if s.Volume != "" {
		return "volume " + s.Volume
	}
	return "snapshot " + s.Snapshot
}

// SourceOf is what a volume begins with; false if it begins empty.
func SourceOf(v *corev1.PersistentVolume) (Source, bool) {
	var s Source
	text := v.Annotations[AnnSource]
	return s, text != "" && json.Unmarshal([]byte(text), &s) == nil && s != Source{}
}

// Filling says that a volume does not have all yet that it is to begin with.
func Filling(v *corev1.PersistentVolume) bool {
	return v.Annotations[AnnSource] != "" && v.Annotations[AnnMade] == "" && v.DeletionTimestamp == nil
}

// SnapshotClass is the VolumeSnapshotClass that every cluster has.
func SnapshotClass() *snapshotv1.VolumeSnapshotClass {
	return &snapshotv1.VolumeSnapshotClass{
		ObjectMeta: metav1.ObjectMeta{Name: LocalClass, Annotations: map[string]string{AnnDefaultSnapshotClass: "true"}},
		Driver:     Provisioner, DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete,
	}
}

// ContentName is the VolumeSnapshotContent of a VolumeSnapshot, by the name that the CSI project's controller would give it.
func ContentName(s *snapshotv1.VolumeSnapshot) string { return "snapcontent-" + string(s.UID) }

// SnapshotContent is the snapshot to be taken of a volume on a node's disk.
func SnapshotContent(s *snapshotv1.VolumeSnapshot, class *snapshotv1.VolumeSnapshotClass, v *corev1.PersistentVolume) *snapshotv1.VolumeSnapshotContent {
	return &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: ContentName(s), Labels: map[string]string{NodeLabel: v.Labels[NodeLabel]}, Finalizers: []string{SnapshotFinalizer}},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: *Ref("VolumeSnapshot", s),
			Driver:            Provisioner, DeletionPolicy: class.DeletionPolicy, VolumeSnapshotClassName: &class.Name,
			Source: snapshotv1.VolumeSnapshotContentSource{VolumeHandle: &v.Name}, SourceVolumeMode: v.Spec.VolumeMode,
		},
	}
}

// SnapshotHandle is where a snapshot is, below the directory of its node's volumes: NAMESPACE/NAME-UID.
func SnapshotHandle(c *snapshotv1.VolumeSnapshotContent) string {
	if h := c.Spec.Source.SnapshotHandle; h != nil {
		return *h
	}
	ref := c.Spec.VolumeSnapshotRef
	return ref.Namespace + "/" + ref.Name + "-" + string(ref.UID)
}

// Ref names a VolumeSnapshot or a VolumeSnapshotContent for an Event: those who record Events know the built-in kinds only.
func Ref(kind string, o metav1.Object) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: snapshotv1.SchemeGroupVersion.String(), Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}
}

// CheckHandle refuses what no snapshot of the built-in class is called.
func CheckHandle(handle string) error {
	if !filepath.IsLocal(handle) || filepath.Clean(handle) != handle || strings.Count(handle, "/") != 1 {
		return fmt.Errorf("snapshot handle %q is not NAMESPACE/NAME-UID", handle)
	}
	return nil
}

// IsLocalSnapshot says whether a snapshot is one of the built-in class's, on a node's disk.
func IsLocalSnapshot(c *snapshotv1.VolumeSnapshotContent) bool {
	return c.Spec.Driver == Provisioner && c.Labels[NodeLabel] != ""
}

// Offered is a snapshot, found on a node's disk, for a cluster that does not know it: for a VolumeSnapshot of the name that it was taken for.
func Offered(found *snapshotv1.VolumeSnapshotContent) *snapshotv1.VolumeSnapshotContent {
	handle := SnapshotHandle(found)
	ref := found.Spec.VolumeSnapshotRef
	c := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: found.Name, Labels: found.Labels, Finalizers: []string{SnapshotFinalizer}},
		Spec:       *found.Spec.DeepCopy(),
	}
	c.Spec.Source = snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: &handle}
	c.Spec.VolumeSnapshotRef = corev1.ObjectReference{APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
	return c
}

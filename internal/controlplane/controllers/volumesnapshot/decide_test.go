package volumesnapshot

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// TestDecide reads a snapshot and what is around it as arguments:
//
//	snapshot [new] [going] [of=CONTENT] [lost] [class=none|other] [noclaim] [unbound] [foreign] [content=own|ready|failed|another|offered|retained] [reader] [known]
//
// new lacks the finalizer, lost says that it was bound, known that its status says already what it will.
func TestDecide(t *testing.T) {
	datadriven.RunTest(t, "testdata/snapshots.txt", func(t *testing.T, d *datadriven.TestData) string {
		arg := func(key string) string {
			for _, a := range d.CmdArgs {
				if a.Key == key && len(a.Vals) > 0 {
					return a.Vals[0]
				}
			}
			return ""
		}
		s := &snapshotv1.VolumeSnapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "snap", UID: "u1", Finalizers: []string{Finalizer}},
			Spec:       snapshotv1.VolumeSnapshotSpec{Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: ptr.To("data")}},
		}
		o := Observed{Snapshot: s, Class: pv.SnapshotClass(), Now: time.Unix(0, 0)}
		o.Claim = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"}}
		o.Volume = &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Labels: map[string]string{pv.NodeLabel: "n1"}, Annotations: map[string]string{volume.AnnDynamicallyProvisioned: pv.Provisioner}},
			Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{}}},
		}
		if d.HasArg("new") {
			s.Finalizers = nil
		}
		if d.HasArg("going") {
			s.DeletionTimestamp = &metav1.Time{Time: o.Now}
		}
		if of := arg("of"); of != "" {
			s.Spec.Source = snapshotv1.VolumeSnapshotSource{VolumeSnapshotContentName: &of}
			s.Spec.VolumeSnapshotClassName = ptr.To(pv.LocalClass)
			o.Claim, o.Volume = nil, nil
		}
		if d.HasArg("lost") {
			s.Status = &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: ptr.To("snapcontent-u1")}
		}
		switch class := arg("class"); class {
		case "none":
			s.Spec.VolumeSnapshotClassName, o.Class = ptr.To("none"), nil
		case "other":
			s.Spec.VolumeSnapshotClassName = ptr.To("other")
			o.Class.Name, o.Class.Driver = "other", "example.com/disk"
		}
		if d.HasArg("noclaim") {
			o.Claim, o.Volume = nil, nil
			s.Spec.VolumeSnapshotClassName = ptr.To(pv.LocalClass)
		}
		if d.HasArg("unbound") {
			o.Volume = nil
			s.Spec.VolumeSnapshotClassName = ptr.To(pv.LocalClass)
		}
		if d.HasArg("foreign") {
			o.Volume.Annotations = nil
		}
		if what := arg("content"); what != "" {
			o.Content = pv.SnapshotContent(s, pv.SnapshotClass(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Labels: map[string]string{pv.NodeLabel: "n1"}}})
			switch what {
			case "ready":
				o.Content.Status = &snapshotv1.VolumeSnapshotContentStatus{ReadyToUse: ptr.To(true), RestoreSize: ptr.To[int64](1 << 30), CreationTime: ptr.To[int64](0)}
			case "failed":
				o.Content.Status = &snapshotv1.VolumeSnapshotContentStatus{ReadyToUse: ptr.To(false), Error: &snapshotv1.VolumeSnapshotError{Message: ptr.To("no room")}}
			case "another":
				o.Content.Spec.VolumeSnapshotRef.UID = "u2"
			case "offered":
				o.Content = pv.Offered(o.Content)
			case "retained":
				o.Content.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentRetain
			}
		}
		if d.HasArg("reader") {
			o.Readers = []string{"pvc-2"}
		}
		if d.HasArg("known") {
			if a := Decide(o); a.Status != nil {
				o.Snapshot = a.Status
			}
		}
		a := Decide(o)
		var out strings.Builder
		if n := a.Snapshot; n != nil {
			fmt.Fprintf(&out, "the snapshot has finalizers %v, class %q\n", n.Finalizers, ptr.Deref(n.Spec.VolumeSnapshotClassName, ""))
		}
		if c := a.Create; c != nil {
			fmt.Fprintf(&out, "create %s for node %s of %s, handle %s, %s\n", c.Name, c.Labels[pv.NodeLabel], *c.Spec.Source.VolumeHandle, pv.SnapshotHandle(c), c.Spec.DeletionPolicy)
		}
		if c := a.Bind; c != nil {
			fmt.Fprintf(&out, "bind %s, handle %s, to %s\n", c.Name, *c.Spec.Source.SnapshotHandle, c.Spec.VolumeSnapshotRef.UID)
		}
		if c := a.Delete; c != nil {
			fmt.Fprintf(&out, "delete %s\n", c.Name)
		}
		if n := a.Status; n != nil {
			fmt.Fprintf(&out, "ready %v of %v\n", *n.Status.ReadyToUse, n.Status.RestoreSize)
		}
		if e := a.Event; e != nil {
			fmt.Fprintf(&out, "%s %s: %s\n", e.Type, e.Reason, e.Message)
		}
		return cmp.Or(out.String(), "nothing\n")
	})
}

func TestDecideContent(t *testing.T) {
	s := &snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "snap", UID: "u1"}}
	of := pv.SnapshotContent(s, pv.SnapshotClass(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Labels: map[string]string{pv.NodeLabel: "n1"}}})
	going := of.DeepCopy()
	going.DeletionTimestamp = &metav1.Time{Time: time.Unix(0, 0)}
	node := &corev1.Node{}
	for what, c := range map[string]struct {
		content        *snapshotv1.VolumeSnapshotContent
		snapshot       *snapshotv1.VolumeSnapshot
		node           *corev1.Node
		abandon, offer bool
	}{
		"in use":                   {of, s, node, false, false},
		"going":                    {going, s, node, false, false},
		"going, its node is gone":  {going, s, nil, true, false},
		"offered":                  {pv.Offered(of), nil, node, false, true},
		"offered, there is one":    {pv.Offered(of), s, node, false, false},
		"of another driver, going": {&snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: going.DeletionTimestamp}}, nil, nil, false, false},
	} {
		if a := DecideContent(c.content, c.snapshot, c.node); a.Abandon != c.abandon || (a.Offer != nil) != c.offer {
			t.Errorf("%s: %+v", what, a)
		}
	}
}

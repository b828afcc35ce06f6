package localvolume

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

func node(room string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelHostname: "host-1"}}}
	if room != "" {
		size := resource.MustParse(room)
		n.Annotations = map[string]string{pv.AnnRoom: fmt.Sprintf(`{"path":"/var/lib/volumes","bytes":%d}`, size.Value())}
	}
	return n
}

// TestDecideClaim reads a claim and what is around it as arguments:
//
//	claim [size=] [has=] [says=] [modes=] [node=] [bound] [unsaid] [resizing] [immediate] [other] [boundby=] [room=] [taken=] [nonode] [from=] [mode=] [told=] [kept] [settling]
//
// has is the volume's size, says that of the claim's status; from is what the claim is to begin with, of those in origins, and told the node that it says has that.
func TestDecideClaim(t *testing.T) {
	datadriven.RunTest(t, "testdata/claims.txt", func(t *testing.T, d *datadriven.TestData) string {
		arg := func(key, otherwise string) string {
			for _, a := range d.CmdArgs {
				if a.Key == key && len(a.Vals) > 0 {
					return a.Vals[0]
				}
			}
			return otherwise
		}
		bytesOf := func(text string) corev1.ResourceList {
			return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(text)}
		}
		o := ObservedClaim{
			Claim: &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "u1", Annotations: map[string]string{volume.AnnStorageProvisioner: pv.Provisioner}},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.PersistentVolumeAccessMode(arg("modes", "ReadWriteOnce"))}, StorageClassName: ptr.To(pv.LocalClass),
					Resources: corev1.VolumeResourceRequirements{Requests: bytesOf(arg("size", "1Gi"))},
				},
			},
			Class: pv.Class(true), Node: node(arg("room", "")),
		}
		if o.Settling = d.HasArg("settling"); d.HasArg("kept") {
			o.Kept = "pvc-old"
		}
		if d.HasArg("nonode") {
			o.Node = nil
		}
		if d.HasArg("immediate") {
			o.Class.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate)
		}
		if d.HasArg("other") {
			o.Class.Provisioner = "example.com/other"
		}
		if by := arg("boundby", ""); by != "" {
			o.Class.Parameters = map[string]string{pv.ParameterBound: by}
		}
		if n := arg("node", ""); n != "" {
			o.Claim.Annotations[volume.AnnSelectedNode] = n
		}
		taken := resource.MustParse(arg("taken", "0"))
		o.Taken = taken.Value()
		if has := arg("has", ""); has != "" {
			v, err := pv.ForClaim(o.Claim, o.Class, node("1Ti"), nil)
			if err != nil {
				t.Fatal(err)
			}
			v.Spec.Capacity = bytesOf(has)
			o.Volume = v
		}
		if d.HasArg("bound") {
			o.Claim.Annotations[volume.AnnBindCompleted] = "yes"
			o.Claim.Spec.VolumeName = "pvc-u1"
			o.Claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: bytesOf(arg("says", arg("has", "1Gi")))}
		}
		if d.HasArg("unsaid") { // its pair is being made
			o.Claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
		}
		if d.HasArg("resizing") {
			o.Claim.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue}}
		}
		if from := arg("from", ""); from != "" {
			ref := &corev1.TypedObjectReference{Kind: "VolumeSnapshot", Name: from, APIGroup: ptr.To("snapshot.storage.k8s.io")}
			if strings.HasPrefix(from, "claim-") {
				ref = &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: from}
			}
			switch from {
			case "elsewhere":
				ref.Namespace = ptr.To("other")
			case "populator":
				ref.Kind = "Populator"
			}
			o.Claim.Spec.DataSourceRef = ref
			o.Origin = originOf(o.Claim, origins{})
			if mode := arg("mode", ""); mode != "" {
				o.Claim.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeMode(mode))
			}
			if told := arg("told", ""); told != "" {
				o.Claim.Annotations[pv.AnnSourceNode] = told
			}
		}
		a := DecideClaim(o)
		var out strings.Builder
		if v := a.Create; v != nil {
			fmt.Fprintf(&out, "create %s of %s at %s for %s/%s, %s\n", v.Name, v.Spec.Capacity.Storage(), v.Spec.Local.Path, v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name, v.Spec.PersistentVolumeReclaimPolicy)
			if by := v.Annotations[pv.AnnBound]; by != "" {
				fmt.Fprintf(&out, "bound by %s\n", by)
			}
			if from, ok := pv.SourceOf(v); ok {
				fmt.Fprintf(&out, "it begins with %s\n", from)
			}
		}
		if v := a.Grow; v != nil {
			fmt.Fprintf(&out, "grow %s to %s\n", v.Name, v.Spec.Capacity.Storage())
		}
		if a.Claim != nil {
			fmt.Fprintf(&out, "the claim's node is %q\n", a.Claim.Annotations[volume.AnnSelectedNode])
			if at := a.Claim.Annotations[pv.AnnSourceNode]; at != "" {
				fmt.Fprintf(&out, "the claim says that its data is on %s\n", at)
			}
		}
		if a.Status != nil {
			fmt.Fprintf(&out, "the claim's condition is %s\n", a.Status.Status.Conditions[0].Type)
		}
		if e := a.Event; e != nil {
			fmt.Fprintf(&out, "%s %s: %s\n", e.Type, e.Reason, e.Message)
		}
		return cmp.Or(out.String(), "nothing\n")
	})
}

// origins are what claims of the test can begin with, by what is the matter with it.
type origins struct{}

func (origins) claim(_, name string) *corev1.PersistentVolumeClaim {
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeName: name}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	switch name {
	case "claim-none":
		return nil
	case "claim-unbound":
		claim.Status.Phase = corev1.ClaimPending
	}
	return claim
}

func (origins) volume(name string) *corev1.PersistentVolume {
	v, err := pv.ForClaim(&corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}, pv.Class(true), node("1Gi"), nil)
	if err != nil {
		panic(err)
	}
	v.Name, v.Annotations[pv.AnnMade] = "of-"+name, "2026-01-01T00:00:00Z"
	switch name {
	case "claim-unused":
		delete(v.Annotations, pv.AnnMade)
	case "claim-foreign":
		v.Annotations = nil
	}
	return v
}

func (origins) snapshot(_, name string) *snapshotv1.VolumeSnapshot {
	s := &snapshotv1.VolumeSnapshot{Status: &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: &name, ReadyToUse: ptr.To(name != "unready"), RestoreSize: ptr.To(resource.MustParse("1Gi"))}}
	if name == "none" {
		return nil
	}
	return s
}

func (origins) content(name string) *snapshotv1.VolumeSnapshotContent {
	c := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{pv.NodeLabel: "n1"}}, Spec: snapshotv1.VolumeSnapshotContentSpec{Driver: pv.Provisioner,
		VolumeSnapshotRef: corev1.ObjectReference{Namespace: "shop", Name: name, UID: ""}}}
	switch name {
	case "lost":
		return nil
	case "foreign":
		c.Spec.Driver = "example.com/disk"
	}
	return c
}

func TestDecideVolume(t *testing.T) {
	made, err := pv.ForClaim(&corev1.PersistentVolumeClaim{}, pv.Class(true), node("1Gi"), nil)
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	for what, c := range map[string]struct {
		change func(v *corev1.PersistentVolume)
		node   *corev1.Node
		want   VolumeAction
	}{
		"bound":                      {func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeBound }, node(""), VolumeAction{}},
		"released":                   {func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased }, node(""), VolumeAction{Delete: true}},
		"released, of somebody else": {func(v *corev1.PersistentVolume) { v.Status.Phase, v.Annotations = corev1.VolumeReleased, nil }, node(""), VolumeAction{}},
		"going, the node is at it":   {func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &now }, node(""), VolumeAction{}},
		"going, the node is done":    {func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &now; v.Annotations[pv.AnnDone] = "removed" }, node(""), VolumeAction{Release: true}},
		"going, the node is gone":    {func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &now }, nil, VolumeAction{Abandon: true}},
		"going, others hold it":      {func(v *corev1.PersistentVolume) { v.DeletionTimestamp, v.Finalizers = &now, []string{"other"} }, nil, VolumeAction{}},
		"released, to be kept by hand": {func(v *corev1.PersistentVolume) {
			v.Status.Phase, v.Spec.PersistentVolumeReclaimPolicy = corev1.VolumeReleased, corev1.PersistentVolumeReclaimRetain
		}, node(""), VolumeAction{}},
	} {
		v := made.DeepCopy()
		c.change(v)
		if got := DecideVolume(v, c.node, false); got != c.want {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
	made.Status.Phase = corev1.VolumeReleased
	if got := DecideVolume(made, node(""), true); got != (VolumeAction{}) {
		t.Errorf("one that another is being filled from: %+v", got)
	}
}

func TestTheSchedulerIsToldOfRoomWhenItChangesMuch(t *testing.T) {
	class := pv.Class(true)
	n := node("100Gi")
	first := Capacity(n, class, 0, nil)
	if first == nil || first.Capacity.String() != "100Gi" || first.NodeTopology.MatchLabels[corev1.LabelHostname] != "host-1" {
		t.Fatalf("%+v", first)
	}
	for taken, want := range map[string]string{"512Mi": "", "20Gi": "80Gi", "100Gi": "0", "200Gi": "0"} {
		q := resource.MustParse(taken)
		got := ""
		if c := Capacity(n, class, q.Value(), first); c != nil {
			got = c.Capacity.String()
		}
		if got != want {
			t.Errorf("with %s taken it is told %q, want %q", taken, got, want)
		}
	}
	if c := Capacity(node(""), class, 0, nil); c != nil {
		t.Errorf("a node that says nothing has room for %v", c.Capacity)
	}
}

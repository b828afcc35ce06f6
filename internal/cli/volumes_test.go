package cli

import (
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

func TestVolumesAreShownWithWhereTheyAreAndTheirSnapshots(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	gig := resource.MustParse("1Gi")
	claims := []corev1.PersistentVolumeClaim{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "waits"}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pvc-1", StorageClassName: ptr.To("local")},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{corev1.ResourceStorage: gig}}},
	}
	volumes := []corev1.PersistentVolume{{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Labels: map[string]string{pv.NodeLabel: "n1"}, Annotations: map[string]string{volume.AnnDynamicallyProvisioned: pv.Provisioner}},
		Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/v/shop/data-1/data"}}},
	}}
	snapshot := func(name string, status *snapshotv1.VolumeSnapshotStatus) snapshotv1.VolumeSnapshot {
		return snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: status,
			Spec: snapshotv1.VolumeSnapshotSpec{Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: ptr.To("data")}}}
	}
	var out strings.Builder
	err := WriteVolumes(&out, NewVolumesReport(claims, volumes, []snapshotv1.VolumeSnapshot{
		snapshot("good", &snapshotv1.VolumeSnapshotStatus{ReadyToUse: ptr.To(true), RestoreSize: &gig, CreationTime: ptr.To(metav1.NewTime(now.Add(-time.Hour)))}),
		snapshot("bad", &snapshotv1.VolumeSnapshotStatus{Error: &snapshotv1.VolumeSnapshotError{Message: ptr.To("no room")}}), snapshot("new", nil),
	}), Table, now, false)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.FieldsFunc(strings.ReplaceAll(out.String(), " \n", "\n"), func(r rune) bool { return r == ' ' }), " ")
	want := `NAMESPACE CLAIM STATUS SIZE CLASS SNAPSHOTS NODE PATH
shop data Bound 1Gi local 3 n1 /v/shop/data-1/data
shop waits Pending - - 0 - -

NAMESPACE SNAPSHOT CLAIM READY SIZE TAKEN
shop bad data no room - -
shop good data yes 1Gi 60m ago
shop new data not yet - -
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

package volume

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// bound is a Source with one claim and its volume.
type bound struct {
	*source
	claim *v1.PersistentVolumeClaim
	v     *v1.PersistentVolume
}

func (b bound) Claim(string) (*v1.PersistentVolumeClaim, error)       { return b.claim, nil }
func (b bound) PersistentVolume(string) (*v1.PersistentVolume, error) { return b.v, nil }
func (b bound) NodeLabels() map[string]string                         { return map[string]string{} }
func (b bound) OtherUser(*v1.Pod, string) string                      { return "" }

func TestAVolumeIsGivenToThePodsGroupOnceAndNotEveryMinute(t *testing.T) {
	const group = 4321
	data, dir := t.TempDir(), t.TempDir()
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "c"}, Spec: v1.PersistentVolumeClaimSpec{VolumeName: "pv"}, Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimBound}}
	v := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: v1.PersistentVolumeSpec{
		AccessModes:            []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
		PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: data}}, ClaimRef: &v1.ObjectReference{Namespace: "shop", Name: "data", UID: "c"},
	}}
	volume := &v1.Volume{Name: "v", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}, Spec: v1.PodSpec{SecurityContext: &v1.PodSecurityContext{FSGroup: ptr.To[int64](group)}}}
	has := func(name string) uint32 {
		t.Helper()
		file := filepath.Join(data, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, 0, 0); err != nil { // the directory's group would be its own
			t.Fatal(err)
		}
		made, err := persistent(context.Background(), filepath.Join(dir, "v"), pod, volume, bound{&source{}, claim, v})
		if err != nil || made.Path != data || made.Claim != "data" {
			t.Fatalf("%+v, %v", made, err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		_, gid := owner(info)
		return gid
	}
	if got := has("before"); got != group {
		t.Errorf("when the Pod begins to use it a file has the group %d, want %d", got, group)
	}
	if got := has("later"); got != 0 {
		t.Errorf("a minute later the Pod's own file was given to the group %d", got)
	}
}

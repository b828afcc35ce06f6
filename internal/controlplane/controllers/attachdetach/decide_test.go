package attachdetach

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// TestDecide reads a volume (csi, nfs or local, its access modes, attach=false) from the arguments of "decide", and from the lines below:
//
//	pod NAME on=NODE [reads]
//	node NAME [listed] [uses] [lost] [off]
//	attachment NODE [attached] [going] [error=TEXT]
func TestDecide(t *testing.T) {
	datadriven.RunTest(t, "testdata/decide.txt", func(t *testing.T, d *datadriven.TestData) string {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}}
		o := Observed{Volume: v, Nodes: map[string]*corev1.Node{}, Driver: &storagev1.CSIDriver{}}
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "csi":
				v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d.io", VolumeHandle: "vol-1"}
			case "nfs":
				v.Spec.NFS = &corev1.NFSVolumeSource{Server: "s", Path: "/p"}
			case "local":
				v.Spec.Local, v.Spec.NodeAffinity = &corev1.LocalVolumeSource{Path: "/p"}, &corev1.VolumeNodeAffinity{}
			case "attach":
				o.Driver.Spec.AttachRequired = ptr.To(a.Vals[0] == "true")
			default:
				long := map[string]corev1.PersistentVolumeAccessMode{"RWO": corev1.ReadWriteOnce, "ROX": corev1.ReadOnlyMany, "RWX": corev1.ReadWriteMany, "RWOP": corev1.ReadWriteOncePod}[a.Key]
				v.Spec.AccessModes = append(v.Spec.AccessModes, long)
			}
		}
		name := pv.UniqueName(v)
		for i, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			has := func(word string) bool { return strings.Contains(" "+line+" ", " "+word+" ") }
			_, value, _ := strings.Cut(line, "=")
			value, _, _ = strings.Cut(value, " ")
			switch f[0] {
			case "pod":
				p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: f[1], CreationTimestamp: metav1.NewTime(time.Unix(int64(i), 0))}, Spec: corev1.PodSpec{NodeName: value}}
				o.Pods = append(o.Pods, Pod{p, has("reads")})
			case "node":
				n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f[1]}}
				ready := corev1.ConditionTrue
				if has("lost") {
					ready = corev1.ConditionUnknown
				}
				n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
				if has("listed") {
					n.Status.VolumesAttached = []corev1.AttachedVolume{{Name: name}}
				}
				if has("uses") {
					n.Status.VolumesInUse = []corev1.UniqueVolumeName{name}
				}
				if has("off") {
					n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
				}
				o.Nodes[f[1]] = n
			case "attachment":
				a := &storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{NodeName: f[1]}, Status: storagev1.VolumeAttachmentStatus{Attached: has("attached")}}
				if has("going") {
					a.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
				}
				if value != "" {
					a.Status.AttachError = &storagev1.VolumeError{Message: value}
				}
				o.Attachments = append(o.Attachments, a)
			default:
				d.Fatalf(t, "line %q", line)
			}
		}
		got := Decide(o)
		var b strings.Builder
		for _, a := range got.Actions {
			fmt.Fprintln(&b, a)
		}
		for _, e := range got.Events {
			fmt.Fprintf(&b, "%s at %s: %s\n", e.Reason, e.Pod.Name, strings.TrimSpace(e.Message))
		}
		return b.String()
	})
}

package snapshotschedule

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
	"k8s.io/utils/ptr"
)

// TestDecide reads a claim as arguments, made at 2026-01-01 00:00 UTC, and its snapshots as input, one a line: TIME [unready] [going].
//
//	claim now=TIME schedule="..." [keep=] [class=] [pending] [going]
//
// A TIME is DAY/HH:MM.
func TestDecide(t *testing.T) {
	at := func(text string) time.Time {
		out, err := time.Parse("2006-01-2/15:04", "2026-01-"+text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	datadriven.RunTest(t, "testdata/claims.txt", func(t *testing.T, d *datadriven.TestData) string {
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", CreationTimestamp: metav1.NewTime(at("1/00:00")), Annotations: map[string]string{}},
			Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		}
		o := Observed{Claim: claim}
		for _, a := range d.CmdArgs {
			switch value := strings.Join(a.Vals, ","); a.Key {
			case "now":
				o.Now = at(value)
			case "schedule":
				claim.Annotations[Schedule] = strings.ReplaceAll(value, "~", " ")
			case "keep":
				claim.Annotations[Keep] = value
			case "class":
				claim.Annotations[Class] = value
			case "pending":
				claim.Status.Phase = corev1.ClaimPending
			case "going":
				claim.DeletionTimestamp = &metav1.Time{Time: o.Now}
			}
		}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			s := &snapshotv1.VolumeSnapshot{
				ObjectMeta: metav1.ObjectMeta{Name: f[0], CreationTimestamp: metav1.NewTime(at(f[0]))},
				Status:     &snapshotv1.VolumeSnapshotStatus{ReadyToUse: ptr.To(!strings.Contains(line, "unready"))},
			}
			if strings.Contains(line, "going") {
				s.DeletionTimestamp = &metav1.Time{Time: o.Now}
			}
			o.Snapshots = append(o.Snapshots, s)
		}
		a := Decide(o)
		var out strings.Builder
		if s := a.Take; s != nil {
			fmt.Fprintf(&out, "take %s of %s, class %q\n", s.Name, *s.Spec.Source.PersistentVolumeClaimName, ptr.Deref(s.Spec.VolumeSnapshotClassName, ""))
		}
		for _, s := range a.Remove {
			fmt.Fprintf(&out, "remove %s\n", s.Name)
		}
		if a.Event != nil {
			fmt.Fprintf(&out, "%s %s: %s\n", a.Event.Type, a.Event.Reason, a.Event.Message)
		}
		if a.Next > 0 {
			fmt.Fprintf(&out, "look again in %s\n", a.Next.Truncate(time.Minute))
		}
		return cmp.Or(out.String(), "nothing\n")
	})
}

package ttlafterfinished

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestDecide reads a Job from the arguments: ttl=SECONDS, TYPE=AGE for a condition that is true since that long ("unknown": since when is not said),
// no=TYPE for one that is false, and deleted.
func TestDecide(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	datadriven.RunTest(t, "testdata/decide.txt", func(t *testing.T, d *datadriven.TestData) string {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "report"}}
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "ttl":
				var ttl int
				a.Scan(t, 0, &ttl)
				job.Spec.TTLSecondsAfterFinished = ptr.To(int32(ttl))
			case "deleted":
				job.DeletionTimestamp = &metav1.Time{Time: now}
			case "no":
				job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: batchv1.JobConditionType(a.Vals[0]), Status: corev1.ConditionFalse, LastTransitionTime: metav1.Time{Time: now.Add(-time.Hour)}})
			default:
				c := batchv1.JobCondition{Type: batchv1.JobConditionType(a.Key), Status: corev1.ConditionTrue}
				if a.Vals[0] != "unknown" {
					age, err := time.ParseDuration(a.Vals[0])
					if err != nil {
						t.Fatal(err)
					}
					c.LastTransitionTime = metav1.Time{Time: now.Add(-age)}
				}
				job.Status.Conditions = append(job.Status.Conditions, c)
			}
		}
		switch v, err := Decide(job, now); {
		case err != nil:
			return err.Error() + "\n"
		case v.Delete:
			return "delete: " + v.Reason + "\n"
		case v.Recheck > 0:
			return fmt.Sprintf("look again in %v\n", v.Recheck)
		}
		return "nothing\n"
	})
}

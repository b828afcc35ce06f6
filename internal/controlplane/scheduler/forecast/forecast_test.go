package forecast

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
)

// The scripts in testdata are clusters and what is to come to them:
//
//	cluster    the nodes, a line each
//	storage    classes, volumes and claims
//	pods       the Pods that are there
//	forecast   the workloads, a Pod a line, with count=N before it, or each for a DaemonSet; claim=CLASS makes a claim of each. gone=NAME,… leave first
func TestForecasts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := why.NewWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cluster":
				w = why.NewWorld()
				for line := range strings.Lines(d.Input) {
					w.Snapshot.SetNode(scheduletest.Node(t, line))
				}
				return ""
			case "storage":
				for line := range strings.Lines(d.Input) {
					scheduletest.SetStorage(t, w.Snapshot, line)
				}
				return ""
			case "pods":
				for _, p := range scheduletest.Pods(t, d.Input) {
					w.AddPod(p)
				}
				return ""
			case "forecast":
				var gone []types.UID
				for _, arg := range d.CmdArgs {
					for _, name := range arg.Vals {
						gone = append(gone, scheduletest.Pod(t, name).UID)
					}
				}
				var workloads []Workload
				for line := range strings.Lines(d.Input) {
					workloads = append(workloads, workload(t, line))
				}
				var b strings.Builder
				for _, o := range Make(w, gone, workloads, profile.Default()) {
					fmt.Fprintf(&b, "%s: %d of %d fit\n", o.Workload, o.Fit, o.Pods)
					for _, line := range append([]string{o.Message}, o.Remedies...) {
						if line != "" {
							fmt.Fprintf(&b, "  %s\n", line)
						}
					}
				}
				if b.Len() == 0 {
					return "nothing to place\n"
				}
				return b.String()
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func workload(t *testing.T, line string) Workload {
	t.Helper()
	var w Workload
	var rest []string
	for _, f := range strings.Fields(line) {
		class, claim := strings.CutPrefix(f, "claim=")
		switch {
		case f == "each":
			w.EachNode = true
		case strings.HasPrefix(f, "count="):
			if _, err := fmt.Sscanf(f, "count=%d", &w.Count); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(f, "refused="):
			w.Refused = strings.TrimPrefix(f, "refused=")
		case claim:
			w.Claims = append(w.Claims, corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			}})
		default:
			rest = append(rest, f)
		}
	}
	w.Pod = scheduletest.Pod(t, strings.Join(rest, " "))
	w.Name = w.Pod.Name
	return w
}

package admission

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestALimitRangeFillsInWhatIsOpenAndRefusesTheRest reads testdata/limits: "range" sets the items; "pod" and "claim" are judged by them.
func TestALimitRangeFillsInWhatIsOpenAndRefusesTheRest(t *testing.T) {
	var items []corev1.LimitRangeItem
	datadriven.RunTest(t, "testdata/limits", func(t *testing.T, d *datadriven.TestData) string {
		decode := func(out any) {
			if err := yaml.UnmarshalStrict([]byte(d.Input), out); err != nil {
				d.Fatalf(t, "%v", err)
			}
		}
		var out strings.Builder
		var errs []error
		switch d.Cmd {
		case "range":
			items = nil
			decode(&items)
			return ""
		case "pod":
			pod := &corev1.Pod{}
			decode(&pod.Spec)
			fillIn(pod, items)
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				fmt.Fprintf(&out, "%s requests %s limits %s\n", c.Name, list(c.Resources.Requests), list(c.Resources.Limits))
			}
			if note := pod.Annotations[annotationLimits]; note != "" {
				fmt.Fprintln(&out, note)
			}
			errs = checkPod(pod, items)
		case "claim":
			claim := &corev1.PersistentVolumeClaim{}
			decode(&claim.Spec)
			errs = checkClaim(claim, items)
		}
		for _, err := range errs {
			fmt.Fprintf(&out, "refused: %v\n", err)
		}
		if len(errs) == 0 {
			out.WriteString("ok\n")
		}
		return out.String()
	})
}

func list(r corev1.ResourceList) string {
	var parts []string
	for _, name := range sortedNames(r) {
		q := r[name]
		parts = append(parts, fmt.Sprintf("%s=%s", name, q.String()))
	}
	return "{" + strings.Join(parts, " ") + "}"
}

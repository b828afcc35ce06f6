package resourceclaim

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestWhatBecomesOfClaims runs testdata/decide: "pod templates=(…) owned=(claim:name…)" has a Pod, "claim ended=(…)" a ResourceClaim.
func TestWhatBecomesOfClaims(t *testing.T) {
	datadriven.RunTest(t, "testdata/decide", func(t *testing.T, d *datadriven.TestData) string {
		args := func(name string) []string {
			for _, a := range d.CmdArgs {
				if a.Key == name {
					return a.Vals
				}
			}
			return nil
		}
		has := func(list []string, s string) bool {
			return strings.Contains(" "+strings.Join(list, " ")+" ", " "+s+" ")
		}
		var b strings.Builder
		switch d.Cmd {
		case "pod":
			pod := &corev1.Pod{}
			if err := yaml.UnmarshalStrict([]byte(d.Input), pod); err != nil {
				t.Fatal(err)
			}
			var owned []*resourcev1.ResourceClaim
			for _, o := range args("owned") {
				claim, name, _ := strings.Cut(o, ":")
				owned = append(owned, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{claimAnnotation: claim}}})
			}
			w := ForPod(pod, func(name string) *resourcev1.ResourceClaimTemplate {
				if !has(args("templates"), name) {
					return nil
				}
				return &resourcev1.ResourceClaimTemplate{}
			}, owned)
			for _, c := range w.Create {
				fmt.Fprintf(&b, "create %s* for %s\n", c.GenerateName, c.Annotations[claimAnnotation])
			}
			if w.Missing != nil {
				fmt.Fprintln(&b, "missing", w.Missing)
			}
			for _, s := range w.Status {
				fmt.Fprintln(&b, "status", s.Name, *s.ResourceClaimName)
			}
		case "claim":
			claim := &resourcev1.ResourceClaim{}
			if err := yaml.UnmarshalStrict([]byte(d.Input), claim); err != nil {
				t.Fatal(err)
			}
			c := ForClaim(claim, func(name, _ string) bool { return has(args("ended"), name) })
			if c.Status != nil {
				fmt.Fprintf(&b, "reserved for %d, allocated %t\n", len(c.Status.ReservedFor), c.Status.Allocation != nil)
			}
			if c.Finalizers != nil {
				fmt.Fprintln(&b, "finalizers", c.Finalizers)
			}
			if c.Delete {
				b.WriteString("delete\n")
			}
		}
		return b.String()
	})
}

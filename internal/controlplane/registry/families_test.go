package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// TestFamilies: "settle cluster=(IPv4,IPv6)", the spec of a new Service; or, after a line with ---, that with which it is to be replaced.
func TestFamilies(t *testing.T) {
	datadriven.RunTest(t, "testdata/families.txt", func(t *testing.T, d *datadriven.TestData) string {
		var families []corev1.IPFamily
		for _, arg := range d.CmdArgs[0].Vals {
			families = append(families, corev1.IPFamily(arg))
		}
		var services []*corev1.Service
		for text := range strings.SplitSeq(d.Input, "---\n") {
			s := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": "web"}}}
			if err := yaml.UnmarshalStrict([]byte(text), &s.Spec); err != nil {
				t.Fatal(err)
			}
			if s.Spec.Selector["app"] == "" {
				s.Spec.Selector = nil
			}
			services = append(services, s)
		}
		s, old := services[len(services)-1], (*corev1.Service)(nil)
		if len(services) == 2 {
			old = services[0]
			keepAllocations(s, old)
		}
		if errs := settleFamilies(s, old, families); len(errs) > 0 {
			return errs.ToAggregate().Error() + "\n"
		}
		policy := ptr.Deref(s.Spec.IPFamilyPolicy, "no policy")
		return fmt.Sprintf("%s %v, asks for %q\n", policy, s.Spec.IPFamilies, s.Spec.ClusterIPs)
	})
}

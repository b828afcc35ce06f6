package allocatable

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/gitopsd/gitopsd/internal/kubelet/eviction"
)

// TestShare plays the scripts in testdata/share: "node" has lines "has", "system", "kube" of RESOURCE=AMOUNT…, "hard", "enforce" and "pods" of what the
// flags take, and prints what comes of it.
func TestShare(t *testing.T) {
	datadriven.RunTest(t, "testdata/share", func(t *testing.T, d *datadriven.TestData) string {
		c, e := Defaults(), eviction.Config{}
		capacity := v1.ResourceList{}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			amounts := map[string]string{}
			for _, w := range f[1:] {
				k, v, _ := strings.Cut(w, "=")
				amounts[k] = v
			}
			switch f[0] {
			case "has":
				for k, v := range amounts {
					capacity[v1.ResourceName(k)] = resource.MustParse(v)
				}
			case "system":
				c.SystemReserved = amounts
			case "kube":
				c.KubeReserved = amounts
			case "hard":
				e.Hard = f[1]
			case "enforce":
				c.Enforce = strings.Split(f[1], ",")
			case "pods":
				fmt.Sscan(f[1], &c.PodPIDsLimit)
			}
		}
		s, err := c.Check()
		if err != nil {
			return err.Error()
		}
		thresholds, err := e.Thresholds()
		if err != nil {
			return err.Error()
		}
		out, err := s.Of(capacity, thresholds)
		if err != nil {
			return err.Error()
		}
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(out)) {
			q := out[name]
			fmt.Fprintf(&b, "%s %s\n", name, q.String())
		}
		g := s.Group(capacity, 32768)
		fmt.Fprintf(&b, "all Pods: cpu %dm, memory %dMi, processes %d; one: processes %d\n", g.MilliCPU, g.Memory>>20, g.PIDs, s.PodPIDs())
		return b.String()
	})
}

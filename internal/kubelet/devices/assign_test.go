package devices

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestWhichDevicesContainersGet runs testdata/assign: "assign free=(…)" has a container a line, "[init|sidecar] NAME RESOURCE=COUNT…", of which those named other.* are no plugin's.
func TestWhichDevicesContainersGet(t *testing.T) {
	datadriven.RunTest(t, "testdata/assign", func(t *testing.T, d *datadriven.TestData) string {
		free := map[v1.ResourceName][]string{}
		for _, a := range d.CmdArgs {
			free[v1.ResourceName("example.com/"+a.Key)] = a.Vals
		}
		pod := &v1.Pod{}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			kind := ""
			if f[0] == "init" || f[0] == "sidecar" {
				kind, f = f[0], f[1:]
			}
			c := v1.Container{Name: f[0], Resources: v1.ResourceRequirements{Limits: v1.ResourceList{}}}
			for _, r := range f[1:] {
				name, n, _ := strings.Cut(r, "=")
				c.Resources.Limits[v1.ResourceName("example.com/"+name)] = resource.MustParse(n)
			}
			if kind == "sidecar" {
				always := v1.ContainerRestartPolicyAlways
				c.RestartPolicy = &always
			}
			if kind != "" {
				pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
			} else {
				pod.Spec.Containers = append(pod.Spec.Containers, c)
			}
		}
		got, err := Assign(pod, func(r v1.ResourceName) bool { return !strings.Contains(string(r), "other") }, func(r v1.ResourceName) []string { return free[r] })
		if err != nil {
			return err.Error()
		}
		var b strings.Builder
		for _, c := range slices.Sorted(maps.Keys(got)) {
			for _, r := range slices.Sorted(maps.Keys(got[c])) {
				fmt.Fprintln(&b, c, r, got[c][r])
			}
		}
		return b.String()
	})
}

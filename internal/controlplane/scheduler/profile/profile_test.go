package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
)

// TestRead shows what files mean: each profile's filters, scores with their weights, and what else differs from the default.
func TestRead(t *testing.T) {
	datadriven.RunTest(t, "testdata/profiles.txt", func(t *testing.T, d *datadriven.TestData) string {
		c, err := Read([]byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" + d.Input))
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		var b strings.Builder
		if c.Backoff != Default().Backoff {
			fmt.Fprintf(&b, "back-off from %v to %v\n", c.Backoff.First, c.Backoff.Last)
		}
		for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
			p := c.Profiles[name]
			fmt.Fprintf(&b, "%s\n  filters: %s\n", name, strings.Join(filterNames(p), " "))
			for _, f := range p.Filters {
				if t, ok := f.(plugins.TopologySpread); ok && d.HasArg("arguments") {
					fmt.Fprintf(&b, "  by default: %s\n", defaults(t.Defaults))
				}
			}
			b.WriteString("  scores:")
			for _, s := range p.Scores {
				fmt.Fprintf(&b, " %s*%d", s.Name(), s.Weight)
				switch t, ok := s.Score.(plugins.TopologyPreference); {
				case d.HasArg("arguments") && ok:
					b.WriteString(defaults(t.Defaults))
				case d.HasArg("arguments"):
					fmt.Fprintf(&b, "%+v", s.Score)
				}
			}
			b.WriteString("\n")
			if p.Percentage != 0 || p.NeverPreempt {
				fmt.Fprintf(&b, "  of nodes: %d%%, never preempts: %v\n", p.Percentage, p.NeverPreempt)
			}
		}
		return b.String()
	})
}

func defaults(constraints []corev1.TopologySpreadConstraint) string {
	var b strings.Builder
	for _, c := range constraints {
		fmt.Fprintf(&b, "{%s %d %s}", c.TopologyKey, c.MaxSkew, c.WhenUnsatisfiable)
	}
	return b.String()
}

func TestAFileOfAnotherKindOrWithUnknownFieldsIsRefused(t *testing.T) {
	for content, want := range map[string]string{
		"kind: Pod\napiVersion: v1": `"Pod" of "v1"`,
		"kind: KubeSchedulerConfiguration\napiVersion: kubescheduler.config.k8s.io/v1\nprofile: []": `unknown field "profile"`,
		"[": "yaml",
	} {
		if _, err := Read([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", content, err, want)
		}
	}
	if _, err := Load("/nowhere/at/all"); err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("error %v, want one that names the file", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("profiles: [{schedulerName: a, plugins: {score: {disabled: [{name: '*'}], enabled: [{name: ImageLocality, weight: 3}]}}}]")
	f.Add("profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 0, score: 10}]}}}}]}]")
	f.Fuzz(func(t *testing.T, content string) {
		c, err := Read([]byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" + content))
		if err == nil && (len(c.Profiles) == 0 || c.Backoff.First <= 0) {
			t.Errorf("%q was read as %+v", content, c)
		}
	})
}

package health_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/datadriven"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/health"
)

// Each script holds objects as the cluster has them, and the verdict about each.
func TestVerdicts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			j, err := yaml.YAMLToJSON([]byte(d.Input))
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			var u unstructured.Unstructured
			if err := u.UnmarshalJSON(j); err != nil {
				d.Fatalf(t, "%v", err)
			}
			h := health.Of(&u)
			return fmt.Sprintf("%s %s\n", h.Status, h.Message)
		})
	})
}

func TestTheWorstOfTwoIsTheOneThatNeedsSomebody(t *testing.T) {
	order := []health.Status{health.Healthy, health.Progressing, health.Unknown, health.Degraded}
	for i, a := range order {
		for j, b := range order {
			if got := health.Worst(a, b); got != order[max(i, j)] {
				t.Errorf("the worse of %s and %s: %s", a, b, got)
			}
		}
	}
}

package health_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/health"
)

func TestAnApplicationsOwnChecksDecideForTheirKind(t *testing.T) {
	checks, err := health.Compile([]v1alpha1.HealthCheck{{
		Group: "example.com", Kind: "Database",
		Failed:     `has(status.phase) && status.phase == "Broken"`,
		InProgress: `metadata.generation != status.observedGeneration`,
		Current:    `status.phase == "Running" && object.kind == "Database"`,
	}, {
		Kind: "ConfigMap", Current: `"ready" in data`,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		object  string
		status  health.Status
		message string
	}{
		"no status yet":         {`{apiVersion: example.com/v1, kind: Database, metadata: {generation: 1}}`, health.Progressing, "no such key: phase"},
		"failed":                {`{apiVersion: example.com/v1, kind: Database, metadata: {generation: 2}, status: {observedGeneration: 1, phase: Broken}}`, health.Degraded, `status.phase == "Broken"`},
		"an old generation":     {`{apiVersion: example.com/v1, kind: Database, metadata: {generation: 2}, status: {observedGeneration: 1, phase: Running}}`, health.Progressing, "in progress"},
		"as it should be":       {`{apiVersion: example.com/v2, kind: Database, metadata: {generation: 2}, status: {observedGeneration: 2, phase: Running}}`, health.Healthy, ""},
		"not yet, with a word":  {`{apiVersion: example.com/v1, kind: Database, metadata: {generation: 1}, status: {observedGeneration: 1, phase: Starting, conditions: [{type: Ready, status: "False", message: two of three}]}}`, health.Progressing, "two of three"},
		"a kind without status": {`{apiVersion: v1, kind: ConfigMap, data: {ready: "1"}}`, health.Healthy, ""},
		"without its data":      {`{apiVersion: v1, kind: ConfigMap}`, health.Progressing, "not yet"},
		"another group":         {`{apiVersion: example.org/v1, kind: Database}`, health.Healthy, ""},
		"one being deleted":     {`{apiVersion: v1, kind: ConfigMap, metadata: {deletionTimestamp: "2026-03-01T12:00:00Z"}, data: {ready: "1"}}`, health.Progressing, "deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			j, err := yaml.YAMLToJSON([]byte(c.object))
			if err != nil {
				t.Fatal(err)
			}
			var u unstructured.Unstructured
			if err := u.UnmarshalJSON(j); err != nil {
				t.Fatal(err)
			}
			h := checks.Of(&u)
			if h.Status != c.status || !strings.Contains(h.Message, c.message) {
				t.Errorf("%s, %q; want %s with %q", h.Status, h.Message, c.status, c.message)
			}
		})
	}
}

func TestAnExpressionThatNeverEndsIsGivenUp(t *testing.T) {
	list := "[" + strings.Repeat("1,", 99) + "1]"
	checks, err := health.Compile([]v1alpha1.HealthCheck{{Kind: "ConfigMap", Current: fmt.Sprintf("%[1]s.all(a, %[1]s.all(b, %[1]s.all(c, a + b + c > 0)))", list)}})
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	if h := checks.Of(u); h.Status != health.Progressing || !strings.Contains(h.Message, "cost limit") {
		t.Errorf("%s %s", h.Status, h.Message)
	}
}

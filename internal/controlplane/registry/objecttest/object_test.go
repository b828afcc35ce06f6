package objecttest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/objecttest"
)

func TestChangesReachEveryPlaceAndLeaveTheOriginalAsItIs(t *testing.T) {
	base, err := objecttest.Parse("{metadata: {name: a}, list: [{x: 1}, {x: 2}], big: 9007199254740993}")
	if err != nil {
		t.Fatal(err)
	}
	changed, err := base.With(`
metadata.labels[app.kubernetes.io/name]: shop
metadata.name: null
list[1].x: 3
list[2]: {x: 4}
new[0].y: z
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		obj  objecttest.Object
		want []string
	}{
		{"changed", changed, []string{
			`big: 9007199254740993`, `list[0].x: 1`, `list[1].x: 3`, `list[2].x: 4`, `metadata.labels.app.kubernetes.io/name: "shop"`, `new[0].y: "z"`,
		}},
		{"original", base, []string{`big: 9007199254740993`, `list[0].x: 1`, `list[1].x: 2`, `metadata.name: "a"`}},
	} {
		got, err := objecttest.Fields(test.obj)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestASlipInAPathOrAFieldIsAnError(t *testing.T) {
	scheme, err := objecttest.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	base, err := objecttest.Parse("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, finalizers: [x]}}")
	if err != nil {
		t.Fatal(err)
	}
	for changes, want := range map[string]string{
		"metadata.name.first: x":    `"first" is below a string`,
		"metadata.finalizers[5]: x": `"5" is no index into a list of 1`,
		"metadata.finalizers[0: x":  "a bracket is not closed",
		"metadata..name: x":         "a name is missing",
	} {
		if _, err := base.With(changes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", changes, err, want)
		}
	}
	typo, err := base.With("dat: {a: b}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := typo.Decode(scheme); err == nil || !strings.Contains(err.Error(), `unknown field "dat"`) {
		t.Errorf("an unknown field: got %v, want an error that names it", err)
	}
}

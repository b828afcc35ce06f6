package defaults_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/objecttest"
)

// TestFieldsLeftOutGetTheirDocumentedDefaults runs the scripts in testdata:
//
//	object
//	<object in YAML>
//	----
//	<the fields that the defaults set, with their values>
//
//	with
//	<fields in which it differs from the last whole object, as "path: value">
//	----
//	<the fields that the defaults set>
func TestFieldsLeftOutGetTheirDocumentedDefaults(t *testing.T) {
	scheme, err := objecttest.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var base objecttest.Object
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			raw, err := objecttest.Parse(d.Input)
			if d.Cmd == "with" {
				raw, err = base.With(d.Input)
			} else {
				base = raw
			}
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			obj, err := raw.Decode(scheme)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			before := fieldsOf(t, obj)
			scheme.Default(obj)
			var set []string
			for _, field := range fieldsOf(t, obj) {
				if !slices.Contains(before, field) {
					set = append(set, field)
				}
			}
			if len(set) == 0 {
				return "nothing"
			}
			return strings.Join(set, "\n")
		})
	})
}

func fieldsOf(t *testing.T, obj runtime.Object) []string {
	t.Helper()
	fields, err := objecttest.Fields(obj)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestListsGetTheDefaultsOfTheirItems(t *testing.T) {
	scheme, err := objecttest.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := objecttest.Parse("{apiVersion: v1, kind: NamespaceList, items: [{metadata: {name: a}}, {metadata: {name: b}}]}")
	if err != nil {
		t.Fatal(err)
	}
	list, err := raw.Decode(scheme)
	if err != nil {
		t.Fatal(err)
	}
	scheme.Default(list)
	fields := fieldsOf(t, list)
	for _, want := range []string{`items[0].status.phase: "Active"`, `items[1].status.phase: "Active"`} {
		if !slices.Contains(fields, want) {
			t.Errorf("the list has no field %s, but:\n%s", want, strings.Join(fields, "\n"))
		}
	}
	if n := meta.LenList(list); n != 2 {
		t.Errorf("the list has %d items after defaulting, want 2", n)
	}
}

func TestRegisteringDefaultsOfUnknownTypesIsAnError(t *testing.T) {
	err := defaults.Register(runtime.NewScheme())
	if err == nil || !strings.Contains(err.Error(), "v1.Namespace: the type must be added to the scheme first") {
		t.Errorf("Register on an empty scheme: got %v, want an error that names the type and the remedy", err)
	}
}

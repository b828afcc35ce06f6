package apply

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/gitopsd/gitopsd/internal/source"
)

// The script in testdata/errors shows what the API server answers about an object and what its author is told instead.
//
//	manifest                 the object, in the file web.yaml
//	plain                    a 500 with this text
//	invalid field=F          a 422 about a field
//	notfound | forbidden | conflict | down
func TestExplain(t *testing.T) {
	var object *source.Object
	datadriven.RunTest(t, "testdata/errors", func(t *testing.T, d *datadriven.TestData) string {
		var err error
		deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
		switch d.Cmd {
		case "manifest":
			objects, err := source.Parse([]source.File{{Path: "web.yaml", Data: []byte(d.Input)}}, source.From{})
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			object = objects[0]
			return ""
		case "plain":
			err = &apierrors.StatusError{ErrStatus: metav1.Status{Code: 500, Message: d.Input}}
		case "invalid":
			var list field.ErrorList
			for _, line := range strings.Split(d.Input, "\n") {
				path, text, _ := strings.Cut(line, " ")
				list = append(list, field.Invalid(field.NewPath(path), "x", text))
			}
			err = apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", list)
		case "notfound":
			err = apierrors.NewNotFound(schema.GroupResource{Resource: d.Input}, "shop")
		case "forbidden":
			err = apierrors.NewForbidden(deployments, "web", errors.New(d.Input))
		case "conflict":
			err = apierrors.NewConflict(deployments, "web", errors.New(d.Input))
		case "down":
			err = errors.New(d.Input)
		default:
			d.Fatalf(t, "unknown command %s", d.Cmd)
		}
		found := explain(object, err)
		text := fmt.Sprintf("%s\nmay pass later: %t\n", found, found.Temporary())
		if found.Denied() {
			text += "lacks a right: true\n"
		}
		return text
	})
}

func TestErrorsComeInTheOrderOfTheFilesAndEachOnce(t *testing.T) {
	objects, err := source.Parse([]source.File{
		{Path: "b.yaml", Data: []byte("apiVersion: v1\nkind: X\nmetadata:\n  name: b\nspec: {}\n")},
		{Path: "a.yaml", Data: []byte("apiVersion: v1\nkind: X\nmetadata:\n  name: a\nspec: {}\n")},
	}, source.From{})
	if err != nil {
		t.Fatal(err)
	}
	got := Errors{
		{Source: objects[0], Field: "spec", Message: "two"},
		{Source: objects[0], Field: "metadata.name", Message: "one"},
		{Source: objects[0], Field: "metadata.name", Message: "one"},
		{Source: objects[1], Message: "zero"},
	}.Error()
	want := "a.yaml:1: X a: zero\nb.yaml:4: X b: metadata.name: one\nb.yaml:5: X b: spec: two"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

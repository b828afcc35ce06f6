package source

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// File is one file of a commit's tree.
type File struct {
	// Path is relative to the root of the repository, with slashes.
	Path string
	Data []byte
	// Rendered says that the data was made from the file and is not its text. Lines has the line of the file for each line of the data, as far as that is known: zero, or no Lines at all, where it is not.
	Rendered bool
	Lines    []int32
	// Filled has, by the line of the data, where the value is set that a template gave to the innermost field on it, as far as that is known.
	Filled map[int]Place
}

// line is the line of the file that a line of rendered data was made from.
func (f File) line(n int) int {
	if n < 1 || n > len(f.Lines) {
		return 0
	}
	return int(f.Lines[n-1])
}

// Object is one Kubernetes object as Git has it.
type Object struct {
	// Content is the object as parsed or rendered: maps, slices, strings, booleans, int64, float64 and nil. It is not to be changed: the lines
	// are counted along it.
	Content map[string]any
	// Origin is where the object begins.
	Origin v1alpha1.Origin

	// written is the object as its file has it, from which Content was rendered; the same as Content for a plain manifest.
	written Document
	// layers are what changed it on the way from written to layered, in order.
	layers []Layer
	// layered is what they made of it; nil when that is Content.
	layered map[string]any
}

// Layer is something that sets fields of an object after its file did: a patch, a list of images, a template.
type Layer interface {
	// Place says where the layer sets a field that has the given value at the end; false when it does not.
	Place(field string, value any) (file string, line int, ok bool)
}

// Unstructured returns a copy of the content that the caller may change.
func (o *Object) Unstructured() *unstructured.Unstructured {
	return (&unstructured.Unstructured{Object: o.Content}).DeepCopy()
}

// GroupVersionKind returns the object's kind as written.
func (o *Object) GroupVersionKind() schema.GroupVersionKind {
	return (&unstructured.Unstructured{Object: o.Content}).GroupVersionKind()
}

// Namespace returns metadata.namespace as written, which may be empty.
func (o *Object) Namespace() string {
	s, _, _ := unstructured.NestedString(o.Content, "metadata", "namespace")
	return s
}

// Name returns metadata.name.
func (o *Object) Name() string {
	s, _, _ := unstructured.NestedString(o.Content, "metadata", "name")
	return s
}

// Line returns the line, in the file of the origin, of a field, given as spec.template.spec.containers[0].image, with list items by index or by key
// ([name="web"]), and with map keys that contain dots as they are or in brackets. For a field that the file does not set it is
// the line of the closest parent that it does set.
func (o *Object) Line(field string) int { return o.written.At(field) }

// Place returns where Git sets a field: in a patch or another layer that gave it the value it has, in the values that a template was filled in with, or else in the file of the
// origin, as Line does.
func (o *Object) Place(field string) (file string, line int) {
	layered := o.layered
	if layered == nil {
		layered = o.Content
	}
	if v, ok := lookup(layered, field); ok {
		for i := len(o.layers) - 1; i >= 0; i-- {
			if file, line, ok := o.layers[i].Place(field, v); ok {
				return file, line
			}
		}
		if p, ok := o.written.fill(field, v); ok {
			return p.File, p.Line
		}
	}
	return o.Origin.File, o.Line(field)
}

// Value returns the value of a field, given as for Line.
func (o *Object) Value(field string) (any, bool) { return lookup(o.Content, field) }

// Position is "file:line" of the object's beginning; the file alone where the line is not known.
func (o *Object) Position() string { return At(o.Origin.File, o.Origin.Line) }

// Twice says where the same object was defined first, and what to do.
func (o *Object) Twice(first *Object) string {
	switch {
	case first.Position() != o.Position():
		return fmt.Sprintf("is already defined at %s; remove one of the two", first.Position())
	case o.written.made:
		return "is made twice by this template; give the two different names"
	}
	return "is made twice of this file, by two kustomizations below spec.source.path; point the path at one of them, or keep the other out with a .sourceignore"
}

// At is "file:line", or the file alone when the line is not known.
func At(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// String names the object as in messages: Kind namespace/name.
func (o *Object) String() string { return describe(o.Content) }

func describe(content map[string]any) string {
	u := unstructured.Unstructured{Object: content}
	if ns := u.GetNamespace(); ns != "" {
		return fmt.Sprintf("%s %s/%s", u.GetKind(), ns, u.GetName())
	}
	return u.GetKind() + " " + u.GetName()
}

package source

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
)

// Document is one parsed value of a file, which knows the line of everything in it. It is not to be changed.
type Document struct {
	File string
	// Value is made of maps, slices, strings, booleans, int64, float64 and nil.
	Value any
	// Line is where it begins; zero when that is not known.
	Line int

	lines lineMap
	// made says that it was made from the file and is not its text, so that several may begin at one line.
	made bool
	// filled says by its position in lines where what a template was filled in with is set.
	filled map[int]Place
}

// Place is a line of a file.
type Place struct {
	File string
	Line int
}

// Documents parses a YAML or JSON file. The error is a ParseErrors.
func Documents(f File) ([]Document, error) {
	values := maxValues
	docs, err := documents(f, &values)
	if err != nil {
		return nil, ParseErrors{err}
	}
	return docs, nil
}

func documents(f File, values *int) ([]Document, *ParseError) {
	if path.Ext(f.Path) == ".json" {
		return parseJSON(f.Path, f.Data, values)
	}
	return parseYAML(f.Path, f.Data, values)
}

// At returns the line of a field, given as for Object.Line, or of its closest parent that exists.
func (d Document) At(field string) int {
	if len(d.lines) == 0 {
		return d.Line
	}
	return d.lines.find(d.Value, field)
}

// Field returns the value of a field.
func (d Document) Field(field string) (any, bool) { return lookup(d.Value, field) }

// Place makes a Document a Layer: a patch that says of an object only what it changes.
func (d Document) Place(field string, value any) (string, int, bool) {
	v, ok := d.Field(field)
	if !ok || !reflect.DeepEqual(v, value) {
		return "", 0, false
	}
	return d.File, d.At(field), true
}

// Walk visits every value, each before those in it and a map's by its sorted keys, with the keys that lead to it. An item of a list has its index in brackets. The path
// is not to be kept.
func (d Document) Walk(visit func(path []string, value any, line int)) {
	pos := 0
	var walk func(path []string, v any)
	walk = func(path []string, v any) {
		if pos >= len(d.lines) {
			return
		}
		visit(path, v, int(d.lines[pos]))
		pos++
		switch v := v.(type) {
		case map[string]any:
			for _, k := range sortedKeys(v) {
				walk(append(path, k), v[k])
			}
		case []any:
			for i, item := range v {
				walk(append(path, fmt.Sprintf("[%d]", i)), item)
			}
		}
	}
	walk(nil, d.Value)
}

// renderedFrom returns a document of rendered data with the lines of what it was made from.
func (d Document) renderedFrom(f File) Document {
	if len(f.Filled) > 0 {
		innermost := map[int]int{} // on a line with an item and its first key, the key's value is what was filled in
		for pos, line := range d.lines {
			innermost[int(line)] = pos
		}
		d.filled = map[int]Place{}
		for line, place := range f.Filled {
			if pos, ok := innermost[line]; ok {
				d.filled[pos] = place
			}
		}
	}
	d = d.Shifted(f.line)
	d.made = true
	return d
}

// fill says where the value that a template gave a field is set; false when the field has another one by now, or the template's own.
func (d Document) fill(field string, value any) (Place, bool) {
	if len(d.filled) == 0 {
		return Place{}, false
	}
	pos, exact := d.lines.position(d.Value, field)
	place, ok := d.filled[pos]
	if !exact || !ok {
		return Place{}, false
	}
	v, _ := d.Field(field)
	return place, reflect.DeepEqual(v, value)
}

// Items returns the document, or, when it is a List of the Kubernetes API, what is in it.
func (d Document) Items() []Document {
	content, ok := d.Value.(map[string]any)
	if !ok {
		return []Document{d}
	}
	items, isList := content["items"].([]any)
	if !isList || !strings.HasSuffix(text(content["kind"]), "List") {
		return []Document{d}
	}
	// The items' lines follow those of the keys that sort before "items".
	skip := 1
	for _, k := range sortedKeys(content) {
		if k == "items" {
			break
		}
		skip += size(content[k])
	}
	skip++ // the list itself
	var out []Document
	for _, item := range items {
		n := size(item)
		one := Document{File: d.File, Value: item, Line: d.Line, made: d.made}
		if len(d.lines) > 0 {
			one.lines, one.Line = slices.Clone(d.lines[skip:skip+n]), int(d.lines[skip])
		}
		out = append(out, one.Items()...)
		skip += n
	}
	return out
}

// Made is an object that a tool made.
type Made struct {
	Content map[string]any
	// Written is what it was made from.
	Written Document
	// Layers are what changed it on the way, in order.
	Layers []Layer
}

// Compose checks objects that a tool made as Parse checks those of files.
func Compose(made []Made, from From) ([]*Object, error) {
	p := parser{from: from, values: maxValues, seen: map[identity]*Object{}}
	for _, m := range made {
		o := &Object{Content: m.Content, Origin: p.origin(m.Written), written: m.Written, layers: m.Layers}
		if p.complete(o) {
			p.add(o)
		}
	}
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	return p.objects, nil
}

// Manifests parses plain files for Compose. The error is a ParseErrors.
func Manifests(files []File, from From) ([]Made, error) {
	var out []Made
	objects, err := Parse(files, from)
	for _, o := range objects {
		out = append(out, Made{Content: o.Content, Written: o.written})
	}
	return out, err
}

// With returns a copy of the object with a content in which values were replaced after it was made. Fields are placed as before.
func (o *Object) With(content map[string]any) *Object {
	out := *o
	if out.layered == nil {
		out.layered = o.Content
	}
	out.Content = content
	return &out
}

// Shifted returns the document with its lines counted in another way, for a text that lies within a file.
func (d Document) Shifted(line func(int) int) Document {
	lines := make(lineMap, len(d.lines))
	for i, l := range d.lines {
		lines[i] = int32(line(int(l)))
	}
	d.Line, d.lines = line(d.Line), lines
	return d
}

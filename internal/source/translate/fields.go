package translate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/source"
)

// reading is one object on its way to another. Each field that is read is crossed off, so that in the end the rest can be told.
type reading struct {
	object *source.Object
	errs   source.ParseErrors
	// set is the ApplicationSet that made the object; nil for one that Git has.
	set *source.Object
	// dropped are the fields that only tune the other tool.
	dropped []string
}

// fail notes that a field cannot be translated.
func (r *reading) fail(field, format string, args ...any) {
	file, line := r.object.Place(field)
	name := r.object.String()
	if r.set != nil {
		name += ", made by " + r.set.String()
	}
	r.errs = append(r.errs, &source.ParseError{File: file, Line: line, Message: fmt.Sprintf("%s: %s: %s", name, field, fmt.Sprintf(format, args...))})
}

// fields are those below one place of an object. One that is not there reads as nothing.
type fields struct {
	r       *reading
	path    string
	content map[string]any
	read    map[string]bool
	// below are the places below it that were opened.
	below []*fields
}

func (r *reading) spec() *fields {
	f := &fields{r: r, path: "spec", read: map[string]bool{}}
	content, ok := r.object.Content["spec"].(map[string]any)
	if !ok {
		r.fail("spec", "must be a map")
	}
	f.content = content
	return f
}

func (f *fields) at(name string) string { return f.path + "." + name }

// take returns a field, and crosses it off.
func (f *fields) take(name string) (any, bool) {
	f.read[name] = true
	v, ok := f.content[name]
	return v, ok && v != nil
}

func (f *fields) fail(name, format string, args ...any) { f.r.fail(f.at(name), format, args...) }

// text reads a string.
func (f *fields) text(name string) string {
	v, ok := f.take(name)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		f.fail(name, "must be a string")
	}
	return s
}

// flag reads a boolean; absent is what it is when it is not there.
func (f *fields) flag(name string, absent bool) bool {
	v, ok := f.take(name)
	if !ok {
		return absent
	}
	b, ok := v.(bool)
	if !ok {
		f.fail(name, "must be true or false")
	}
	return b
}

// duration reads a time such as 10m.
func (f *fields) duration(name string) *metav1.Duration {
	s := f.text(name)
	if s == "" {
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		f.fail(name, "%q is no time such as 10m", s)
		return nil
	}
	return &metav1.Duration{Duration: d}
}

// strings reads a list of strings.
func (f *fields) strings(name string) []string {
	var out []string
	f.into(name, &out)
	return out
}

// into reads a field whose form is that of a type of ours, and says whether it is there. Fields that the type lacks are errors.
func (f *fields) into(name string, to any) bool {
	v, ok := f.take(name)
	if !ok {
		return false
	}
	text, err := json.Marshal(v)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		err = d.Decode(to)
	}
	if err != nil {
		f.fail(name, "cannot be translated: %v", err)
		return false
	}
	return true
}

// object reads the fields below one.
func (f *fields) object(name string) *fields {
	for _, b := range f.below {
		if b.path == f.at(name) {
			return b
		}
	}
	out := &fields{r: f.r, path: f.at(name), read: map[string]bool{}}
	f.below = append(f.below, out)
	if v, ok := f.take(name); ok {
		if out.content, ok = v.(map[string]any); !ok {
			f.fail(name, "must be a map")
		}
	}
	return out
}

// objects reads a list of objects.
func (f *fields) objects(name string) []*fields {
	v, ok := f.take(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		f.fail(name, "must be a list")
	}
	var out []*fields
	for i, item := range list {
		one := &fields{r: f.r, path: fmt.Sprintf("%s[%d]", f.at(name), i), read: map[string]bool{}}
		if one.content, ok = item.(map[string]any); !ok {
			f.r.fail(one.path, "must be a map")
		}
		out = append(out, one)
	}
	f.below = append(f.below, out...)
	return out
}

// has says whether a field is there.
func (f *fields) has(name string) bool { return f.content[name] != nil }

// there says whether any field is.
func (f *fields) there() bool { return len(f.content) > 0 }

// tune crosses fields off that only tune the other tool.
func (f *fields) tune(names ...string) {
	for _, n := range names {
		if _, ok := f.take(n); ok {
			f.r.dropped = append(f.r.dropped, f.at(n))
		}
	}
}

// same crosses fields off that ask for what is done anyway.
func (f *fields) same(names ...string) {
	for _, n := range names {
		f.read[n] = true
	}
}

// rest crosses off all that is left, as tuning.
func (f *fields) rest() {
	for _, n := range slices.Sorted(maps.Keys(f.content)) {
		if !f.read[n] {
			f.tune(n)
		}
	}
}

// refuse says of a field what to do instead, if it is there.
func (f *fields) refuse(name, remedy string) {
	if _, ok := f.take(name); ok {
		f.fail(name, "%s", remedy)
	}
}

// done makes errors of fields that were not read.
func (f *fields) done() {
	for _, n := range slices.Sorted(maps.Keys(f.content)) {
		if !f.read[n] && f.content[n] != nil {
			f.fail(n, "gitopsd has nothing like it; take it away, or write an Application of gitopsd.io/v1alpha1 instead (docs/moving.md)")
		}
	}
	for _, b := range f.below {
		b.done()
	}
}

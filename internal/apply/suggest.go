package apply

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/gitopsd/gitopsd/internal/source"
)

// unknown says that a field does not exist and, where the kind is built in, which one was probably meant.
func unknown(s *source.Object, field string) string {
	if name := suggest(s, field); name != "" {
		return fmt.Sprintf("unknown field; did you mean %s?", name)
	}
	return "unknown field; correct its name, or remove it"
}

// suggest returns the name of the field, next to an unknown one, that looks most like it; empty when none is close.
func suggest(s *source.Object, field string) string {
	names := parts(field)
	t := typeOf(s, names[:len(names)-1])
	if t == nil {
		return ""
	}
	last := names[len(names)-1]
	best, bestDistance := "", len(last)/3+2
	for _, name := range fieldNames(t) {
		if d := distance(strings.ToLower(last), strings.ToLower(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// selector matches what chooses an item of a list: [0], [name="web"].
var selector = regexp.MustCompile(`\[[^\]]*\]`)

// parts are the names of the fields along a path, without the items in between.
func parts(field string) []string { return strings.Split(selector.ReplaceAllString(field, ""), ".") }

// typeOf returns the Go type of a field of a built-in kind, given by its path's parts; nil when the kind or the field is not known.
func typeOf(s *source.Object, path []string) reflect.Type {
	obj, err := Scheme.New(s.GroupVersionKind())
	if err != nil {
		return nil
	}
	t := reflect.TypeOf(obj)
	for _, name := range path {
		if t = fieldType(t, name); t == nil {
			return nil
		}
	}
	return t
}

// indirect takes pointers, and the items of lists and maps, off a type.
func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

func eachField(t reflect.Type, f func(name string, t reflect.Type)) {
	t = indirect(t)
	if t.Kind() != reflect.Struct {
		return
	}
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		switch {
		case strings.Contains(options, "inline") || sf.Anonymous && name == "":
			eachField(sf.Type, f)
		case name != "" && name != "-":
			f(name, sf.Type)
		}
	}
}

func fieldType(t reflect.Type, name string) reflect.Type {
	var out reflect.Type
	eachField(t, func(n string, ft reflect.Type) {
		if n == name {
			out = ft
		}
	})
	return out
}

func fieldNames(t reflect.Type) []string {
	var out []string
	eachField(t, func(n string, _ reflect.Type) { out = append(out, n) })
	return out
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		previous := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			previous, row[j] = row[j], min(row[j]+1, row[j-1]+1, previous+cost)
		}
	}
	return row[len(b)]
}

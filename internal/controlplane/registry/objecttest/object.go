package objecttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/yaml"
)

// Object is an object before it is decoded.
type Object map[string]any

// Parse reads an object in YAML.
func Parse(text string) (Object, error) {
	var o Object
	return o, parse(text, &o)
}

func parse(text string, into any) error {
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber() // an int64 must come through whole
	return decoder.Decode(into)
}

// With returns a copy of o with the changes made, a path before the paths below it.
func (o Object) With(changes string) (Object, error) {
	asJSON, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var copied Object
	if err := parse(string(asJSON), &copied); err != nil {
		return nil, err
	}
	if strings.TrimSpace(changes) == "" {
		return copied, nil
	}
	var values map[string]any
	if err := parse(changes, &values); err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(values)) {
		steps, err := split(path)
		if err != nil {
			return nil, err
		}
		if _, err := set(map[string]any(copied), steps, values[path]); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return copied, nil
}

// split takes "a.b[0].c[d.e]" apart: names, and what is in brackets, which is an index where it is a number.
func split(path string) ([]string, error) {
	var steps []string
	for rest := path; rest != ""; {
		rest = strings.TrimPrefix(rest, ".")
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			key, after, closed := strings.Cut(inner, "]")
			if !closed {
				return nil, fmt.Errorf("%s: a bracket is not closed", path)
			}
			steps, rest = append(steps, key), after
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, fmt.Errorf("%s: a name is missing", path)
		}
		steps, rest = append(steps, rest[:end]), rest[end:]
	}
	return steps, nil
}

// set puts value at the end of the steps below node and returns the node that takes node's place.
func set(node any, steps []string, value any) (any, error) {
	if len(steps) == 0 {
		return value, nil
	}
	step := steps[0]
	if list, ok := node.([]any); ok {
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i > len(list) {
			return nil, fmt.Errorf("%q is no index into a list of %d", step, len(list))
		}
		if i == len(list) {
			list = append(list, map[string]any{})
		}
		list[i], err = set(list[i], steps[1:], value)
		return list, err
	}
	fields, ok := node.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%q is below a %T", step, node)
	}
	if len(steps) == 1 && value == nil {
		delete(fields, step)
		return fields, nil
	}
	child := fields[step]
	if child == nil {
		child = map[string]any{}
		if len(steps) > 1 && steps[1] == "0" {
			child = []any{}
		}
	}
	child, err := set(child, steps[1:], value)
	fields[step] = child
	return fields, err
}

// Decode reads o into the type that its apiVersion and kind name, and fails for any field that the type does not have.
func (o Object) Decode(s *runtime.Scheme) (runtime.Object, error) {
	asJSON, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	strict := jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, s, s, jsonserializer.SerializerOptions{Strict: true})
	obj, _, err := strict.Decode(asJSON, nil, nil)
	return obj, err
}

// Fields lists every field that obj, once encoded, has a value in, as "path: value" with the value in JSON.
func Fields(obj any) ([]string, error) {
	asJSON, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := parse(string(asJSON), &tree); err != nil {
		return nil, err
	}
	var fields []string
	flatten("", tree, &fields)
	slices.Sort(fields)
	return fields, nil
}

func flatten(path string, node any, into *[]string) {
	switch n := node.(type) {
	case map[string]any:
		for name, child := range n {
			flatten(strings.TrimPrefix(path+"."+name, "."), child, into)
		}
		if len(n) > 0 {
			return
		}
	case []any:
		for i, child := range n {
			flatten(fmt.Sprintf("%s[%d]", path, i), child, into)
		}
		if len(n) > 0 {
			return
		}
	}
	value, _ := json.Marshal(node) // it was decoded from JSON just now
	*into = append(*into, path+": "+string(value))
}

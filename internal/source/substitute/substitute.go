package substitute

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"go.yaml.in/yaml/v4"
)

// optOut, with the value "disabled" as annotation or label, leave an object as it is: ours, and the one that repositories made for Flux carry.
var optOut = []string{"gitopsd.io/substitute", "kustomize.toolkit.fluxcd.io/substitute"}

// name is what a variable may be called.
var name = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// Validate says whether the names of variables can be used in ${NAME}.
func Validate(variables map[string]string) error {
	for _, n := range slices.Sorted(maps.Keys(variables)) {
		if !name.MatchString(n) {
			return fmt.Errorf("%q cannot be the name of a variable: letters, digits and underscores, and no digit first", n)
		}
	}
	return nil
}

// Error is a field in which nothing could be replaced.
type Error struct {
	// Field is its path.
	Field   string
	Message string
}

func (e *Error) Error() string { return e.Field + ": " + e.Message }

// Object returns the content with every ${NAME} in its strings and keys replaced, and whether there was any. The content is not changed. In strict mode a variable with neither a value nor
// a default is an error; otherwise nothing stands for it.
func Object(content map[string]any, variables map[string]string, strict bool) (map[string]any, bool, error) {
	if disabled(content) {
		return content, false, nil
	}
	s := &substitution{lookup: func(n string) (string, bool) {
		v, ok := variables[n]
		return v, ok || !strict
	}}
	v, err := s.value(content, "", false)
	if err != nil {
		return nil, false, err
	}
	return v.(map[string]any), s.changed, nil // a map stays one
}

func disabled(content map[string]any) bool {
	meta, _ := content["metadata"].(map[string]any)
	for _, field := range []string{"annotations", "labels"} {
		m, _ := meta[field].(map[string]any)
		for _, n := range optOut {
			if m[n] == "disabled" {
				return true
			}
		}
	}
	return false
}

type substitution struct {
	lookup  func(string) (string, bool)
	changed bool
}

// value replaces in a value and what is below; text says that the API wants strings here, so that a result which looks like a number stays text.
func (s *substitution) value(v any, at string, text bool) (any, error) {
	switch v := v.(type) {
	case string:
		return s.text(v, at, text)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			r, err := s.value(item, fmt.Sprintf("%s[%d]", at, i), text)
			if err != nil {
				return nil, err
			}
			out[i] = r
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			below := k
			if at != "" {
				below = at + "." + k
			}
			key, err := s.replace(k, below)
			if err != nil {
				return nil, err
			}
			if _, dup := out[key]; dup {
				return nil, &Error{Field: below, Message: "two keys of this map are the same after their variables are replaced"}
			}
			if out[key], err = s.value(v[k], below, text || textual[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// textual are fields that hold strings throughout, wherever they stand in an object of the Kubernetes API.
var textual = map[string]bool{
	"annotations": true, "labels": true, "matchLabels": true, "data": true, "stringData": true, "binaryData": true,
	"args": true, "command": true, "env": true, "nodeSelector": true, "name": true, "namespace": true,
	"variables": true, "substitute": true, // an Application's own, and that of Flux's Kustomizations
}

// text replaces in a string. What was nothing but a variable, as in "replicas: ${REPLICAS}", becomes what its value would be in YAML: a number, a boolean, or text.
func (s *substitution) text(v, at string, text bool) (any, error) {
	out, err := s.replace(v, at)
	if err != nil || out == v || text || strings.ContainsAny(v, " \t\n") {
		return out, err
	}
	var typed any
	if err := yaml.Unmarshal([]byte(out), &typed); err != nil {
		return out, nil // text that is no YAML is text
	}
	switch typed := typed.(type) {
	case int:
		return int64(typed), nil
	case int64, bool, float64:
		return typed, nil
	}
	return out, nil
}

// unset begins the library's error, which has no type, about a variable without value.
const unset = "variable not set (strict mode)"

func (s *substitution) replace(v, at string) (out string, err error) {
	if !strings.Contains(v, "$") || !strings.Contains(v, "{") {
		return v, nil
	}
	defer func() {
		// The library indexes into what people write.
		if r := recover(); r != nil {
			err = &Error{Field: at, Message: "a variable cannot be replaced; write $${ where two characters are meant"}
		}
	}()
	out, err = envsubst.Eval(v, s.lookup)
	switch {
	case err != nil && strings.HasPrefix(err.Error(), unset):
		return "", &Error{Field: at, Message: fmt.Sprintf("the variable %s has neither a value nor a default; give it one in spec.source.substitute, or write ${NAME:=default}", strings.TrimPrefix(err.Error(), unset+": "))}
	case err != nil:
		return "", &Error{Field: at, Message: fmt.Sprintf("%v; write $${ where two characters are meant", err)}
	}
	s.changed = s.changed || out != v
	return out, nil
}

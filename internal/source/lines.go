package source

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// lineMap holds the line of every value of an object: of the object itself, then of each value below it, depth first, the keys of a map in
// sorted order. A map's value has the line of its key, a list's item the line where it begins. Four bytes a value, and no paths: the path
// is found by walking the object and counting.
type lineMap []int32

// find returns the line of field, or of its closest parent that exists.
func (l lineMap) find(content any, field string) int {
	if len(l) == 0 {
		return 0
	}
	pos, _ := l.position(content, field)
	return int(l[pos])
}

// position returns where the line map has field, or its closest parent that exists.
func (l lineMap) position(content any, field string) (pos int, exact bool) {
	v := content
	rest := strings.TrimPrefix(strings.TrimSpace(field), ".")
	for rest != "" {
		child, skip, after, ok := step(v, rest)
		if !ok || pos+skip >= len(l) {
			return pos, false
		}
		pos, v, rest = pos+skip, child, after
	}
	return pos, true
}

// lookup returns the value at field.
func lookup(content any, field string) (any, bool) {
	v := content
	rest := strings.TrimPrefix(strings.TrimSpace(field), ".")
	for rest != "" {
		child, _, after, ok := step(v, rest)
		if !ok {
			return nil, false
		}
		v, rest = child, after
	}
	return v, true
}

// step goes one step down from v. skip is how many entries of the line map lie between v's own and the child's.
func step(v any, path string) (child any, skip int, after string, ok bool) {
	switch v := v.(type) {
	case map[string]any:
		key, after, ok := mapKey(v, path)
		if !ok {
			return nil, 0, "", false
		}
		skip := 1
		for _, k := range sortedKeys(v) {
			if k == key {
				return v[k], skip, after, true
			}
			skip += size(v[k])
		}
	case []any:
		sel, after, ok := bracket(path)
		if !ok {
			return nil, 0, "", false
		}
		skip := 1
		for i, item := range v {
			if selects(sel, i, item) {
				return item, skip, after, true
			}
			skip += size(item)
		}
	}
	return nil, 0, "", false
}

// mapKey takes the longest key of m that path begins with, because keys such as app.kubernetes.io/name hold the separator themselves.
func mapKey(m map[string]any, path string) (key, after string, ok bool) {
	if sel, after, ok := bracket(path); ok {
		if _, has := m[sel]; has {
			return sel, after, true
		}
		if s, err := strconv.Unquote(sel); err == nil {
			if _, has := m[s]; has {
				return s, after, true
			}
		}
		return "", "", false
	}
	best := -1
	for k := range m {
		if len(k) <= best || !strings.HasPrefix(path, k) {
			continue
		}
		if rest := path[len(k):]; rest == "" || rest[0] == '.' || rest[0] == '[' {
			best, key = len(k), k
		}
	}
	if best < 0 {
		return "", "", false
	}
	return key, strings.TrimPrefix(path[best:], "."), true
}

// bracket splits a leading [selector] off.
func bracket(path string) (sel, after string, ok bool) {
	if !strings.HasPrefix(path, "[") {
		return "", "", false
	}
	quoted := false
	for i := 1; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ']' && !quoted:
			return path[1:i], strings.TrimPrefix(path[i+1:], "."), true
		}
	}
	return "", "", false
}

// selects says whether a selector means the item: an index, key="value" pairs, or ="value" of a set.
func selects(sel string, index int, item any) bool {
	if n, err := strconv.Atoi(sel); err == nil {
		return n == index
	}
	if want, ok := strings.CutPrefix(sel, "="); ok {
		return literal(item) == want
	}
	m, ok := item.(map[string]any)
	if !ok {
		return false
	}
	for _, pair := range splitPairs(sel) {
		k, want, ok := strings.Cut(pair, "=")
		if !ok {
			return false
		}
		// A key field that Git leaves out was defaulted by the server (a port's protocol), so it cannot tell items apart here.
		if got, has := m[k]; has && literal(got) != want {
			return false
		}
	}
	return true
}

// splitPairs splits at commas outside of quotes.
func splitPairs(s string) []string {
	var out []string
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

func literal(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return fmt.Sprint(v)
}

// size counts the values in v, itself included.
func size(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, c := range v {
			n += size(c)
		}
	case []any:
		for _, c := range v {
			n += size(c)
		}
	}
	return n
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

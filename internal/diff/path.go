package diff

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// formatPath writes a path as people write it: spec.template.spec.containers[name="web"].image. A map key that holds a dot
// stands in brackets: metadata.annotations[example.com/owner].
func formatPath(p fieldpath.Path) string {
	var b strings.Builder
	for _, e := range p {
		switch {
		case e.FieldName != nil:
			if strings.ContainsAny(*e.FieldName, ".[]") {
				fmt.Fprintf(&b, "[%s]", *e.FieldName)
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(*e.FieldName)
		case e.Key != nil:
			b.WriteByte('[')
			for i, f := range *e.Key {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteString(f.Name + "=" + toJSON(f.Value.Unstructured()))
			}
			b.WriteByte(']')
		case e.Value != nil:
			b.WriteString("[=" + toJSON((*e.Value).Unstructured()) + "]")
		case e.Index != nil:
			b.WriteString("[" + strconv.Itoa(*e.Index) + "]")
		}
	}
	return b.String()
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func fieldElement(name string) fieldpath.PathElement { return fieldpath.PathElement{FieldName: &name} }

func valueElement(v any) fieldpath.PathElement {
	w := value.NewValueInterface(v)
	return fieldpath.PathElement{Value: &w}
}

// below returns a path one step longer, in memory of its own: paths are kept in results.
func below(p fieldpath.Path, e fieldpath.PathElement) fieldpath.Path {
	out := make(fieldpath.Path, len(p)+1)
	copy(out, p)
	out[len(p)] = e
	return out
}

// pointerTo writes a path as a JSON pointer (RFC 6901) into content. An item that content does not have stands as "-", as one that would be added.
func pointerTo(content any, p fieldpath.Path) string {
	var b strings.Builder
	for i, e := range p {
		b.WriteByte('/')
		if e.FieldName != nil {
			b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(*e.FieldName))
			continue
		}
		list, _ := find(content, p[:i]).value.([]any)
		if at := indexOf(list, e); at >= 0 {
			b.WriteString(strconv.Itoa(at))
		} else {
			b.WriteByte('-')
		}
	}
	return b.String()
}

// Covers says whether a pattern of ignoreDifferences means the path: the path itself or a parent of it. [*] stands for any list item.
func Covers(pattern, path string) bool {
	pattern = strings.TrimPrefix(strings.TrimSpace(pattern), ".")
	for pattern != "" {
		if rest, ok := strings.CutPrefix(pattern, "[*]"); ok {
			if !strings.HasPrefix(path, "[") {
				return false
			}
			end := closing(path)
			if end < 0 {
				return false
			}
			pattern, path = rest, path[end+1:]
			continue
		}
		if path == "" || path[0] != pattern[0] {
			return false
		}
		pattern, path = pattern[1:], path[1:]
	}
	return path == "" || path[0] == '.' || path[0] == '['
}

// closing is the index of the bracket that closes the one at the beginning of s.
func closing(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ']' && !quoted:
			return i
		}
	}
	return -1
}
